import { routedCidrsOf, type Node } from "#proto/node.ts";
import type { AgentConfig } from "#agent/agent-config.ts";
import type { HostTools } from "#agent/dataplane/exec.ts";
import { MAX_ANNOUNCED } from "#agent/docker/bridges.ts";
import type { DockerDiscovery } from "#agent/docker/discovery.ts";
import type { RoutedFacts } from "#agent/docker/place.ts";
import type { NodeEvents } from "#agent/node-events.ts";
import type { OwnNetwork } from "#agent/own-network.ts";
import type { ClusterState, Touched } from "#agent/sync/state.ts";
import type { Trouble } from "#agent/trouble.ts";
import { createContainerAccess } from "./access.ts";
import { createPeerRoutes, type Unreached } from "./peer-routes.ts";
import { reachedState } from "./reached-state.ts";

/** Container networks between hosts, put together: what this host announces and lets in, and how it reaches what others announce. */
export interface Routed {
  /** What kernel and names of this host go by. */
  readonly reached: ClusterState;
  touched(touched: Pick<Touched, "nodes" | "all">): void;
  /** Routes to what is known, before anything else follows from it. */
  settle(signal: AbortSignal): Promise<void>;
  readonly loops: Readonly<Record<string, (signal: AbortSignal) => Promise<void>>>;
  /** To be announced; undefined = not known yet. */
  wanted(): readonly string[] | undefined;
  refused(refused: ReadonlyMap<string, string>): void;
  networkChanged(): void;
  /** Changes when another host's Node does. */
  othersChanged(): number;
  /** For the places of containers; undefined without --docker-routed. */
  readonly facts: (() => RoutedFacts) | undefined;
  problems(): readonly string[];
}

export interface RoutedDeps {
  readonly config: Pick<AgentConfig, "membership" | "connection" | "dockerRouted" | "log">;
  readonly tools: HostTools;
  readonly trouble: Trouble;
  readonly events: NodeEvents;
  readonly state: ClusterState;
  readonly network: OwnNetwork;
  readonly docker: () => Pick<DockerDiscovery, "subnets" | "replaced"> | undefined;
  /** Some endpoints are reached no more, or again. */
  readonly onReached: () => void;
}

const QUIET_MS = 3_600_000;

export function openRouted(deps: RoutedDeps): Routed {
  const { config, tools, trouble, events, state, network, docker } = deps;
  const { log, dockerRouted: isOn } = config;
  const { node: nodeName, cluster } = config.membership;
  let refused: ReadonlyMap<string, string> = new Map();
  let changes = 0;
  const ownNode = (): Node | undefined => state.nodes.get(nodeName);

  const peers = createPeerRoutes({
    tools,
    nodeName,
    nodes: state.nodes,
    network: () => network.now,
    serviceCidrs: cluster.serviceCidrs,
    log,
    onProblem: (problem) => trouble.set("routes to containers of other hosts", problem),
    onUnreached(unreached) {
      for (const one of unreached)
        events.tell({ reason: "ContainersNotReached", about: `${one.text} ${one.why}`, quietMs: QUIET_MS, message: textOf(one) });
      deps.onReached();
    },
  });
  const access = createContainerAccess({
    tools,
    nodeName,
    isOn,
    nodes: state.nodes,
    log,
    onProblem: (problem) => trouble.set("rules that let hosts in to containers", problem),
    onRepair: (missing) => {
      const message = `what let the fleet's hosts in to containers is put back: ${missing.slice(0, 3).join(", ")}`;
      log.warn({ missing }, message);
      events.tell({ reason: "RulesRepaired", about: "routed networks", message });
    },
    onOpen: () => docker()?.replaced(),
  });

  const found = (): readonly string[] | undefined => {
    const own = ownNode();
    return docker()?.subnets() ?? (own && routedCidrsOf(own));
  };

  return {
    reached: reachedState(state, () => peers.unreached()),
    touched(touched) {
      if (touched.all || touched.nodes.size > 0) changes++;
      peers.touched(touched);
      access.touched(touched);
      if (isOn && (touched.all || touched.nodes.has(nodeName))) docker()?.replaced();
    },
    settle: (signal) => peers.settle(signal),
    loops: { "routes to containers": (end) => peers.run(end), "access to containers": (end) => access.run(end) },
    wanted() {
      if (!isOn) return [];
      const all = found()?.slice(0, MAX_ANNOUNCED);
      if (all) network.knowBridged(all);
      return all;
    },
    refused(now) {
      const isOther = JSON.stringify([...now]) !== JSON.stringify([...refused]);
      refused = now;
      if (!isOther) return;
      for (const [cidr, why] of now) {
        const message = `${cidr} of Docker is not routed, its containers serve this host only: it ${why}`;
        log.warn({ cidr }, message);
        events.tell({ reason: "NetworkNotRouted", about: `${cidr} ${why}`, quietMs: QUIET_MS, message });
      }
      docker()?.replaced();
    },
    networkChanged: () => peers.networkChanged(),
    othersChanged: () => changes,
    facts: isOn ? () => ({ cidrs: access.open(), refused }) : undefined,
    problems: () => [
      ...Array.from(refused, ([cidr, why]) => `--docker-routed: ${cidr} ${why}`),
      ...tooMany(isOn ? (found() ?? []) : []),
      ...peers.unreached().map(textOf),
    ],
  };
}

function textOf({ text, node, why }: Unreached): string {
  return `containers in ${text} of ${node} are not reached from this host: ${why}`;
}

function tooMany(all: readonly string[]): readonly string[] {
  const left = all.slice(MAX_ANNOUNCED);
  return left.length === 0 ? [] : [`--docker-routed: of ${all.length} bridge networks ${MAX_ANNOUNCED} are routed, not ${left.join(", ")}`];
}
