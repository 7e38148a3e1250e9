import type { Logger } from "pino";
import type { Heartbeat } from "#proto/agents.ts";
import type { Node } from "#proto/node.ts";
import type { Store, StoredChange } from "../store/store.ts";
import { createDeadlines } from "./deadlines.ts";
import type { EventRecorder } from "./events.ts";
import { judge, nextLookMs, readyCondition, standingOf, type Judgement, type LeaseRules, type Standing } from "./lease-rules.ts";

/** The hosts' leases, in memory only: a heartbeat writes nothing. A restart of the server grants everybody a fresh one. */
export interface Leases {
  /** A sign of life. */
  heartbeat(node: string, report: Pick<Heartbeat, "problems">): void;
  of(node: string): LeaseInfo | undefined;
  /** Calls back with the names of hosts that may have become ready, or no longer be; returns how to stop. */
  onChange(listener: (nodes: Iterable<string>) => void): () => void;
}

export interface LeaseInfo {
  readonly ready: boolean;
  /** undefined: not since this server started. */
  readonly lastHeardMs: number | undefined;
  readonly problems: readonly string[];
}

export interface LeaseController extends Leases {
  follow(changes: readonly Pick<StoredChange, "type" | "object">[]): void;
  /** Writes what was judged into the Node. */
  reconcile(node: string): Promise<void>;
  stop(): void;
}

interface Held {
  standing: Standing;
  heardAt: number;
  heard: boolean;
  problems: readonly string[];
}

interface Deps {
  readonly store: Store;
  readonly rules: LeaseRules;
  readonly events: EventRecorder;
  readonly log: Pick<Logger, "info" | "warn">;
  /** The Node's condition has to be written. */
  readonly wake: (node: string) => void;
}

export function createLeases({ store, rules, events, log, wake }: Deps): LeaseController {
  const held = new Map<string, Held>();
  const listeners = new Set<(nodes: Iterable<string>) => void>();
  const now = (): number => performance.now();
  let last: Judgement = { verdicts: new Map(), silent: 0, total: 0, braking: false };
  /** All that run out together are judged together, and while the brake is on, not for every heartbeat. */
  const review = createDeadlines({ now, onDue: judgeAll });
  let reviewAt = Infinity;
  const leases = createDeadlines({ now, onDue: () => reviewBy(now()) });

  function reviewBy(at: number): void {
    if (at >= reviewAt) return;
    reviewAt = at;
    review.set("all", at);
  }

  function judgeAll(): void {
    const time = now();
    reviewAt = Infinity;
    const all = [...held].map(([name, one]) => ({ name, standing: one.standing, silentMs: time - one.heardAt, heard: one.heard }));
    const wasBraking = last.braking;
    last = judge(all, rules);
    if (last.braking && !wasBraking) tellOfBrake(last);
    else if (wasBraking && !last.braking) log.info({ total: last.total }, "the brake is released: hosts are heard of again");
    for (const [name, standing] of last.verdicts) {
      const one = held.get(name);
      if (one) one.standing = standing;
      wake(name);
    }
    for (const [name, { heardAt, standing }] of held) {
      const next = nextLookMs(time - heardAt, standing, rules);
      if (next !== undefined) leases.set(name, time + next);
    }
    if (last.verdicts.size > 0) tell(last.verdicts.keys());
  }

  function tellOfBrake({ silent, total }: Judgement): void {
    const message = `${silent} of ${total} hosts are silent: nothing is taken out of rotation, as the failure may be the server's own network`;
    log.warn({ silent, total }, message);
    events.record("fleet", { type: "Warning", reason: "MassFailureBrake", message });
  }

  function tell(nodes: Iterable<string>): void {
    const names = [...nodes];
    for (const listener of listeners) listener(names);
  }

  function followNode(type: StoredChange["type"], node: Node): void {
    const { name } = node.metadata;
    const one = held.get(name);
    if (type === "DELETED") {
      held.delete(name);
      leases.delete(name);
      // The others may be more, or fewer, than a third now.
      reviewBy(now());
      tell([name]);
    } else if (!one) {
      held.set(name, { standing: standingOf(node), heardAt: now(), heard: false, problems: [] });
      leases.set(name, now() + rules.nodeTimeoutMs);
      tell([name]);
    } else if (one.standing !== standingOf(node)) wake(name); // somebody wrote over our condition
  }

  return {
    heartbeat: (name, { problems }) => {
      const one = held.get(name);
      if (!one) return;
      one.heardAt = now();
      one.heard = true;
      one.problems = problems;
      leases.set(name, one.heardAt + rules.nodeTimeoutMs);
      if (one.standing !== "ready") reviewBy(one.heardAt);
      else if (last.braking) reviewBy(one.heardAt + rules.heartbeatIntervalMs / 4);
    },
    of: (name) => {
      const one = held.get(name);
      return one && { ready: isAlive(one), lastHeardMs: one.heard ? now() - one.heardAt : undefined, problems: one.problems };
    },
    onChange: (listener) => {
      const own = (nodes: Iterable<string>): void => listener(nodes);
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    follow: (changes) => {
      for (const { type, object } of changes) if (object.kind === "Node") followNode(type, object);
    },
    reconcile: async (name) => {
      const standing = held.get(name)?.standing;
      const node = await store.get({ kind: "Node", namespace: "", name });
      if (standing === undefined || node?.kind !== "Node" || standingOf(node) === standing) return;
      const { conditions } = node.status;
      const at = `${new Date().toISOString().slice(0, 19)}Z`;
      const ready = readyCondition(standing, last, at);
      const others = conditions.filter(({ type }) => type !== "Ready");
      const object: Node = { ...node, status: { ...node.status, conditions: [...others, ready] } };
      await store.transact([{ op: "put", object, expect: Number(node.metadata.resourceVersion) }]);
      log.info({ node: name, standing }, "host's standing changed");
      const reason = { ready: "NodeReady", kept: "MassFailureBrake", lost: "NodeNotReady" }[standing];
      events.record(node, { type: standing === "ready" ? "Normal" : "Warning", reason, message: ready.message ?? "" });
    },
    stop: () => {
      leases.stop();
      review.stop();
    },
  };
}

function isAlive({ standing }: Held): boolean {
  return standing === "ready";
}
