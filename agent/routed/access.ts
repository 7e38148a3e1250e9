import type { IpFamily } from "#proto/ip.ts";
import { formatIp, parseCidr, parseIp } from "#proto/ip.ts";
import { internalIpsOf, routedCidrsOf, type Node } from "#proto/node.ts";
import { hasRoutedTraces, openRoutedGate, type RoutedAccess, type RoutedGate } from "#agent/dataplane/iptables/routed.ts";
import type { HostTools } from "#agent/dataplane/exec.ts";
import type { DataplaneLog } from "#agent/dataplane/log.ts";
import { createTeller } from "#agent/dataplane/teller.ts";
import type { ObjectView, Touched } from "#agent/sync/state.ts";
import { createWake } from "#agent/sync/wake.ts";

/**
 * Keeps the fleet's hosts let in to the networks that this host announces, and nobody else: what the server has accepted of its Node, and the addresses of
 * the other Nodes. Without --docker-routed it only takes away what an earlier run has left.
 */
export interface ContainerAccess {
  touched(touched: Pick<Touched, "nodes" | "all">): void;
  run(signal: AbortSignal): Promise<void>;
  /** Networks that are announced, and into which others are let in by now. */
  open(): readonly string[];
}

export interface ContainerAccessDeps {
  readonly tools: HostTools;
  readonly nodeName: string;
  readonly isOn: boolean;
  readonly nodes: ObjectView<Node>;
  readonly log: DataplaneLog;
  readonly onProblem: (problem: unknown) => void;
  readonly onRepair: (missing: readonly string[]) => void;
  readonly onOpen: () => void;
}

const LOOK_EVERY_MS = 1000;
const TRY_AGAIN_MS = 2000;
/** Somebody who takes our rules away again and again is not fought at full speed. */
const REPAIR_MS = 100;
const FOREVER_MS = 2 ** 31 - 1;
const FAMILIES: readonly IpFamily[] = ["IPv4", "IPv6"];

export function createContainerAccess(deps: ContainerAccessDeps): ContainerAccess {
  const { tools, nodeName, nodes, log, isOn } = deps;
  const wake = createWake();
  const hosts = new Map<string, readonly string[]>();
  const teller = createTeller({ log, onProblem: deps.onProblem, message: "cannot let the fleet's hosts in to the routed networks" });
  let announced: readonly string[] = [];
  /** undefined = not written yet: what the run before has written is there. */
  let open: readonly string[] | undefined;

  /** Says whether anything follows from it. */
  function followNode(name: string): boolean {
    const node = nodes.get(name);
    const before = name === nodeName ? announced : (hosts.get(name) ?? []);
    const now = !node ? [] : name === nodeName ? routedCidrsOf(node) : internalIpsOf(node).flatMap(canonical);
    if (name === nodeName) announced = now;
    else if (node) hosts.set(name, now);
    else hosts.delete(name);
    return before.join() !== now.join();
  }

  async function follow(gates: readonly RoutedGate[], signal: AbortSignal): Promise<void> {
    const all = [...hosts.values()].flat();
    const wanted = announced;
    for (const [i, gate] of gates.entries()) {
      const family = FAMILIES[i];
      if (family) await gate.hold(accessOf(family, wanted, all), signal);
    }
    const before = open;
    open = wanted;
    if (before?.join() !== open.join()) deps.onOpen();
  }

  async function look(gates: readonly RoutedGate[], signal: AbortSignal): Promise<boolean> {
    const missing: string[] = [];
    for (const gate of gates) {
      const drift = await gate.verify(signal);
      if (!drift.intact) missing.push(...drift.missing);
    }
    if (missing.length > 0) deps.onRepair(missing);
    return missing.length > 0;
  }

  /** Says how soon it is to be done again; undefined = when something changes. */
  async function once(
    gates: readonly RoutedGate[],
    { isDue }: { readonly isDue: boolean },
    signal: AbortSignal,
  ): Promise<number | undefined> {
    try {
      if (isDue) await follow(gates, signal);
      const isDamaged = await look(gates, signal);
      teller.succeeded();
      if (isDamaged) return REPAIR_MS;
      return announced.length > 0 ? LOOK_EVERY_MS : undefined;
    } catch (error) {
      if (!signal.aborted) teller.failed(error);
      return TRY_AGAIN_MS;
    }
  }

  async function keep(gates: readonly RoutedGate[], signal: AbortSignal): Promise<void> {
    for (let isDue = true; !signal.aborted;) {
      const pauseMs = await once(gates, { isDue }, signal);
      const timer = AbortSignal.timeout(pauseMs ?? FOREVER_MS);
      await wake.wait(AbortSignal.any([signal, timer]));
      isDue = pauseMs !== LOOK_EVERY_MS || !timer.aborted;
    }
  }

  return {
    touched({ nodes: names, all }) {
      if (!isOn) return;
      const concerned = all ? new Set([...nodes.keys(), ...hosts.keys(), nodeName]) : names;
      if ([...concerned].map(followNode).includes(true)) wake.ring();
    },
    async run(signal) {
      const gates = FAMILIES.map((family) => openRoutedGate({ tools, family, log }));
      if (isOn) return keep(gates, signal);
      for (const [i, gate] of gates.entries()) {
        const family = FAMILIES[i];
        if (family && (await hasRoutedTraces(family)))
          for (const what of await gate.cleanup({ dryRun: false }, signal)) log.info({ what }, "removed leftover");
      }
    },
    open: () => (open === undefined ? announced : announced.filter((cidr) => open?.includes(cidr))),
  };
}

function accessOf(family: IpFamily, cidrs: readonly string[], hosts: readonly string[]): RoutedAccess {
  return {
    cidrs: cidrs.filter((cidr) => parseCidr(cidr)?.family === family),
    hosts: new Set(hosts.filter((host) => parseIp(host)?.family === family)),
  };
}

function canonical(text: string): readonly string[] {
  const ip = parseIp(text);
  return ip ? [formatIp(ip)] : [];
}
