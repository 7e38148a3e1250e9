import { constants } from "node:os";
import type { Logger } from "pino";
import { z } from "zod";
import { backoffMs, pause } from "#proto/backoff.ts";
import { describeError } from "#proto/error.ts";
import type { ObjectKey } from "#proto/meta.ts";
import type { Workload } from "#proto/workload.ts";
import type { Report } from "#agent/health/workload-health.ts";
import { runAll } from "#agent/sync/scope.ts";
import { createWake } from "#agent/sync/wake.ts";
import type { WorkloadEnd, WorkloadSource } from "#agent/workloads/keeper.ts";
import type { Container, EngineEvent, Network } from "./container.ts";
import { bridgeSubnets } from "./bridges.ts";
import type { Engine } from "./engine.ts";
import { SERVICE_LABEL } from "./labels.ts";
import { createVerdicts } from "./verdicts.ts";
import type { RoutedFacts } from "./place.ts";
import { containerOf, workloadOf, type Found } from "./workload.ts";

export interface DockerDeps {
  readonly engine: Engine;
  readonly nodeName: string;
  readonly nodeIps: () => readonly string[];
  /** This node's workloads, as last heard. */
  readonly own: ReadonlyMap<ObjectKey, Workload>;
  readonly report: Report;
  /** With --docker-routed: what is. */
  readonly routed?: (() => RoutedFacts) | undefined;
  /** What it wants registered has changed. */
  readonly onChange: () => void;
  readonly log: Pick<Logger, "info" | "warn">;
}

export interface DockerDiscovery extends WorkloadSource {
  /** The server's side of this node's workloads has changed. */
  touched(): void;
  /** Where others reach containers may be different now: this node's addresses, or what is routed. */
  replaced(): void;
  /** Of the bridge networks, as last seen; undefined = the engine was not heard yet. */
  subnets(): readonly string[] | undefined;
  run(signal: AbortSignal): Promise<void>;
  problems(): readonly string[];
}

/** Events are told once: what one did not tell is seen by then. */
const LIST_AGAIN_MS = 60_000;
/** An engine that was never heard for so long has no containers: the host has booted, and Docker has not. */
const SILENT_MS = 60_000;
/** A container that was told to stop and still runs: it does not mean to. */
const STOPPING_MS = 60_000;
/** Real-time signals as Docker numbers them (signal(7)); Node has no names for them. */
const [SIGRTMIN, SIGRTMAX] = [34, 64];

/** The labelled containers of this host's Docker engine as Workloads: events say when to look, and lists and inspections say what there is. */
export function createDockerDiscovery(deps: DockerDeps): DockerDiscovery {
  const { engine, log } = deps;
  const containers = new Map<string, Container>();
  /** By id: since when (performance.now()), and which run of it. */
  const stopping = new Map<string, { readonly since: number; readonly startedAt: string | undefined }>();
  const due = new Set<string>();
  const wake = createWake();
  let networks: ReadonlyMap<string, Network> = new Map();
  let subnets: readonly string[] | undefined;
  let listAll = true;
  let isListed = false;
  let trouble: string | undefined;
  let found: ReadonlyMap<string, Found> = new Map();

  /** Pure functions of what was seen: cheap, and right also when only the node's addresses have changed. */
  function recompute(): void {
    const facts = { networks, nodeIps: deps.nodeIps(), nodeName: deps.nodeName, ...(deps.routed && { routed: deps.routed() }) };
    const before = found;
    found = new Map(Array.from(containers, ([id, container]) => [id, workloadOf(container, facts)]));
    for (const [id, one] of found) {
      const was = before.get(id);
      if (one.kind === "fault" && !(was?.kind === "fault" && was.why === one.why))
        log.warn({ container: containers.get(id)?.Name, error: one.why }, "a container cannot be registered");
    }
    deps.onChange();
    verdicts.touched();
  }

  async function look(signal: AbortSignal): Promise<void> {
    const isWhole = listAll;
    listAll = false;
    const ids = isWhole ? await engine.containers(signal) : [...due];
    if (isWhole) {
      networks = new Map((await engine.networks(signal)).map((network) => [network.Id, network]));
      subnets = bridgeSubnets(networks.values());
      for (const id of containers.keys()) if (!ids.includes(id)) containers.delete(id);
    }
    due.clear();
    try {
      await inspectAll(ids, signal);
      isListed = true;
    } finally {
      recompute(); // what was seen counts, whatever the engine said next
    }
  }

  /** One that the engine does not answer for stops no other; after a second one it is the engine that does not answer. */
  async function inspectAll(ids: readonly string[], signal: AbortSignal): Promise<void> {
    const failures: unknown[] = [];
    for (const id of ids) {
      try {
        const container = await inspect(id, signal);
        if (container?.State.Running === true) containers.set(id, container);
        else containers.delete(id);
        // Its end, or its next start, may have been told while nobody listened.
        if (container?.State.Running !== true || container.State.StartedAt !== stopping.get(id)?.startedAt) stopping.delete(id);
      } catch (error) {
        failures.push(error);
        if (signal.aborted || failures.length > 1) break;
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /** One that is not as we know containers stops no other. */
  async function inspect(id: string, signal: AbortSignal): Promise<Container | undefined> {
    try {
      return await engine.container(id, signal);
    } catch (error) {
      if (!(error instanceof z.ZodError)) throw error;
      log.warn({ container: id.slice(0, 12), error: describeError(error) }, "Docker describes a container in a way that is not understood");
      return undefined;
    }
  }

  function heard({ Type, Action, Actor }: EngineEvent): void {
    if (Type === "network") listAll = true;
    else if (!Object.hasOwn(Actor.Attributes, SERVICE_LABEL) && !containers.has(Actor.ID)) return;
    else if (Action === "kill" && isStop(containers.get(Actor.ID), Actor.Attributes["signal"]))
      stopping.set(Actor.ID, { since: performance.now(), startedAt: containers.get(Actor.ID)?.State.StartedAt });
    else if (Action === "start" || Action === "die") stopping.delete(Actor.ID);
    // Commands that are run inside, also those of a HEALTHCHECK, change nothing of it.
    if (Type === "container" && /^(exec_|top|attach|resize|copy|archive|export|commit)/.test(Action)) return;
    if (Type === "container") due.add(Actor.ID);
    wake.ring();
  }

  /** Until the engine ends, or something fails. */
  async function follow(signal: AbortSignal): Promise<void> {
    await runAll(signal, {
      events: async (end) => {
        const events = await engine.events(end); // from here on nothing is missed
        listAll = true;
        wake.ring();
        for await (const event of events) heard(event);
        throw new Error("the engine has ended");
      },
      looks: async (end) => {
        while (!end.aborted) {
          await wake.wait(AbortSignal.any([end, AbortSignal.timeout(LIST_AGAIN_MS)]));
          if (isOver(end)) return;
          if (due.size === 0) listAll = true;
          for (const [id, { since }] of stopping) if (performance.now() - since > STOPPING_MS) stopping.delete(id);
          await look(end);
          trouble = undefined;
        }
      },
    });
  }

  async function followAgain(signal: AbortSignal): Promise<void> {
    const since = performance.now();
    for (let failures = 1; !signal.aborted; failures++) {
      const before = performance.now();
      await follow(signal).catch((error: unknown) => {
        if (signal.aborted) return;
        const why = describeError(error);
        if (trouble === undefined) log.warn({ error: why }, "Docker does not answer; its containers stay as they were last seen");
        trouble = `Docker: ${why}`;
      });
      if (performance.now() - before > 30_000) failures = 1;
      if (!isListed && performance.now() - since > SILENT_MS) {
        isListed = true;
        recompute();
      }
      await pause(backoffMs(failures, Math.random()), signal);
    }
  }

  const wanted = (): (readonly [string, Extract<Found, { kind: "workload" }>])[] =>
    [...found].flatMap(([id, one]) => (one.kind === "workload" && !stopping.has(id) ? [[id, one] as const] : []));
  const verdicts = createVerdicts({
    wanted: () => wanted().map(([, one]) => one),
    own: deps.own,
    report: deps.report,
    log,
  });

  return {
    wanted: () => wanted().map(([, { key, workload }]) => [key, workload] as const),
    end(source): WorkloadEnd | undefined {
      const name = containerOf(source);
      if (name === undefined) return undefined;
      if (!isListed) return "keep";
      const [id] = [...containers].find(([, { Name }]) => Name === name) ?? [];
      return id !== undefined && stopping.has(id) ? "drain" : "at once";
    },
    touched: () => verdicts.touched(),
    replaced: recompute,
    subnets: () => subnets,
    async run(signal) {
      try {
        await runAll(signal, { containers: followAgain, verdicts: (end) => verdicts.run(end) });
      } finally {
        await engine.close();
      }
    },
    problems: () => [
      ...(trouble === undefined ? [] : [trouble]),
      ...Array.from(found).flatMap(([id, one]) =>
        one.kind === "fault" ? [`container ${containers.get(id)?.Name ?? id.slice(0, 12)}: ${one.why}`] : [],
      ),
    ],
  };
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** `docker stop` sends the container's own stop signal first; other signals are none of ours. */
function isStop(container: Container | undefined, signal: string | undefined): boolean {
  const own = container?.Config.StopSignal ?? "SIGTERM";
  return signal === own || signal === String(signalNumber(own));
}

/** `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`: in numbers, as events tell of it. */
function signalNumber(text: string): number {
  const name = text.toUpperCase().replace(/^(?:SIG)?/, "SIG");
  const [, from, offset = "0"] = /^SIGRT(MIN|MAX)(?:[+-](\d+))?$/.exec(name) ?? [];
  if (from === "MIN") return SIGRTMIN + Number(offset);
  if (from === "MAX") return SIGRTMAX - Number(offset);
  return Object.entries(constants.signals).find(([known]) => known === name)?.[1] ?? Number(text);
}
