import type { IpFamily } from "#proto/ip.ts";
import type { Node } from "#proto/node.ts";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { flagOf, ROUTE_PROTOCOL } from "#agent/dataplane/route-edge.ts";
import type { DataplaneLog } from "#agent/dataplane/log.ts";
import { createTeller } from "#agent/dataplane/teller.ts";
import type { NodeNetwork } from "#agent/node/network.ts";
import type { ObjectView, Touched } from "#agent/sync/state.ts";
import { createWake } from "#agent/sync/wake.ts";
import { announcedBy, type Announced } from "./announced.ts";
import { allRoutes, changeRoutes, isPeerRoute, peerRouteOf, routesAbout, wordsOf, type RouteChange } from "./edge.ts";
import { verdictOn, type PeerRoute } from "./verdict.ts";

/**
 * Routes to the container networks that other hosts announce (--docker-routed there), whatever this host itself runs. A change of one Node costs its own
 * networks. Whether all is as it should be is looked at every 5 s, and where nobody announces anything nothing is. The routes stay when the agent stops.
 */
export interface PeerRoutes {
  touched(touched: Pick<Touched, "nodes" | "all">): void;
  /** This host's own networks are others: looked at anew, at once. */
  networkChanged(): void;
  /** The kernel is made to hold what was announced so far; what fails is tried again by `run`. */
  settle(signal: AbortSignal): Promise<void>;
  run(signal: AbortSignal): Promise<void>;
  /** Networks to which this host does not send: their containers are no endpoints here. */
  unreached(): readonly Unreached[];
}

export interface Unreached extends Announced {
  readonly why: string;
}

export interface PeerRoutesDeps {
  readonly tools: KernelTools;
  readonly nodeName: string;
  readonly nodes: ObjectView<Node>;
  readonly network: () => Pick<NodeNetwork, "localCidrs" | "reserved">;
  readonly serviceCidrs: readonly string[];
  readonly log: DataplaneLog;
  readonly onProblem: (problem: unknown) => void;
  /** What is not reached is other than before. */
  readonly onUnreached: (unreached: readonly Unreached[]) => void;
  readonly lookEveryMs?: number;
}

const LOOK_EVERY_MS = 5000;
/** So many looked at cost some 10 ms of a core: more are looked at less often. */
const LOOKED_AT_ONCE = 500;
const FOREVER_MS = 2 ** 31 - 1;
const SHOWN = 3;
const FAMILIES = ["IPv4", "IPv6"] as const;

export function createPeerRoutes(deps: PeerRoutesDeps): PeerRoutes {
  const { nodes, nodeName, log, lookEveryMs = LOOK_EVERY_MS } = deps;
  const byNode = new Map<string, readonly Announced[]>();
  let unreached: ReadonlyMap<string, Unreached> = new Map();
  const wake = createWake();
  const teller = createTeller({ log, onProblem: deps.onProblem, message: "cannot make routes to containers of other hosts" });
  /** Networks that came, went or moved since the last pass. */
  let changed = new Map<string, Announced>();
  /** Is it known that the kernel holds what was wanted last? An earlier run may have left what nobody wants. */
  let isKnown = false;
  let isLookDue = true;

  function followNode(name: string): void {
    const node = name === nodeName ? undefined : nodes.get(name);
    const now = node ? announcedBy(node) : [];
    const before = byNode.get(name) ?? [];
    if (now.length + before.length === 0 || isSame(now, before)) return;
    if (now.length === 0) byNode.delete(name);
    else byNode.set(name, now);
    for (const one of [...before, ...now]) changed.set(one.text, one);
    wake.ring();
  }

  /** Of these alone, or of all that there are. */
  async function pass(only: ReadonlyMap<string, Announced> | undefined, signal: AbortSignal): Promise<void> {
    isKnown = false; // until it is known to have been done
    const all = new Map([...byNode.values()].flat().map((one) => [one.text, one]));
    const next = new Map(only ? [...unreached].filter(([text]) => !only.has(text)) : []);
    for (const family of FAMILIES) {
      const isOf = ({ cidr }: Announced): boolean => cidr.family === family;
      const about = only && Array.from(only, ([text, one]) => all.get(text) ?? one).filter(isOf);
      if (about?.length === 0) continue;
      const asked = (about ?? [...all.values()]).filter((one) => isOf(one) && all.get(one.text) === one);
      for (const one of await passFamily({ family, about, asked }, signal)) next.set(one.text, one);
    }
    isKnown = true;
    const isOther = textOf(next) !== textOf(unreached);
    unreached = next;
    if (isOther) deps.onUnreached([...unreached.values()]);
  }

  async function passFamily({ family, about, asked }: FamilyPass, signal: AbortSignal): Promise<readonly Unreached[]> {
    const flag = flagOf({ family });
    const found = about ? await routesAbout(deps.tools, flag, about, signal) : await allRoutes(deps.tools, flag, signal);
    const concerned = about && new Set(about.map(({ text }) => text));
    const there = found
      .filter(isPeerRoute)
      .map(peerRouteOf)
      .filter(({ destination }) => concerned?.has(destination) ?? true);
    const others = found.filter(({ protocol }) => protocol !== ROUTE_PROTOCOL);
    const ground = { others, network: deps.network(), serviceCidrs: deps.serviceCidrs };
    const verdicts = asked.map((one) => ({ one, verdict: verdictOn(one, ground) }));
    const routes = verdicts.flatMap(({ verdict }) => (verdict.kind === "route" ? [verdict.route] : []));
    const change = { add: without(routes, there), remove: without(there, routes) };
    await changeRoutes(deps.tools, flag, change, signal);
    if (change.add.length + change.remove.length > 0) log.info(fieldsOf(change), "routes to containers of other hosts");
    return verdicts.flatMap(({ one, verdict }) => (verdict.kind === "refused" ? [{ ...one, why: verdict.why }] : []));
  }

  async function attempt(only: ReadonlyMap<string, Announced> | undefined, signal: AbortSignal): Promise<void> {
    try {
      await pass(only, signal);
      teller.succeeded();
    } catch (error) {
      if (!signal.aborted) teller.failed(error);
    }
  }

  const takeChanged = (): ReadonlyMap<string, Announced> => {
    const taken = changed;
    changed = new Map();
    return taken;
  };

  return {
    touched({ nodes: names, all }) {
      for (const name of all ? new Set([...nodes.keys(), ...byNode.keys()]) : names) followNode(name);
    },
    networkChanged() {
      isLookDue = true;
      wake.ring();
    },
    async settle(signal) {
      if (takeChanged().size > 0) await attempt(undefined, signal);
    },
    async run(signal) {
      while (!signal.aborted) {
        const only = takeChanged();
        const isWhole = isLookDue || !isKnown;
        isLookDue = false;
        if (isWhole || only.size > 0) await attempt(isWhole ? undefined : only, signal);
        const isIdle = isKnown && byNode.size === 0;
        const timer = AbortSignal.timeout(isIdle ? FOREVER_MS : lookEveryMs * Math.max(1, byNode.size / LOOKED_AT_ONCE));
        await wake.wait(AbortSignal.any([signal, timer]));
        if (timer.aborted) isLookDue = true;
      }
    },
    unreached: () => [...unreached.values()],
  };
}

function textOf(unreached: ReadonlyMap<string, Unreached>): string {
  return Array.from(unreached.values(), ({ node, text, why }) => `${node} ${text} ${why}`)
    .toSorted()
    .join("\n");
}

function without(routes: readonly PeerRoute[], others: readonly PeerRoute[]): readonly PeerRoute[] {
  const words = new Set(others.map(wordsOf));
  return routes.filter((route) => !words.has(wordsOf(route)));
}

function fieldsOf({ add, remove }: RouteChange): object {
  return { added: add.slice(0, SHOWN).map(wordsOf), removed: remove.slice(0, SHOWN).map(wordsOf) };
}

interface FamilyPass {
  readonly family: IpFamily;
  /** undefined = everything. */
  readonly about: readonly Announced[] | undefined;
  readonly asked: readonly Announced[];
}

function isSame(a: readonly Announced[], b: readonly Announced[]): boolean {
  const text = (all: readonly Announced[]): string => all.map(({ text: one, hops }) => `${one} ${hops.join()}`).join(" ");
  return text(a) === text(b);
}
