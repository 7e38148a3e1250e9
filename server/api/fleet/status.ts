import type { ClusterFacts, FleetStatus } from "#proto/agents.ts";
import { internalIpsOf, isKeptByBrake, isNodeReady, type Node } from "#proto/node.ts";
import type { Controllers } from "#server/controllers/start.ts";
import type { ObjectCounts } from "#server/object-counts.ts";
import type { Store } from "#server/store/store.ts";
import { VERSION } from "#server/version.ts";

export interface StatusDeps {
  readonly store: Store;
  readonly controllers: Pick<Controllers, "leases" | "receipts" | "idleServices">;
  readonly cluster: ClusterFacts;
  readonly counts: ObjectCounts;
  readonly startedAt: string;
}

/** At a glance. */
const MAX_NAMED = 10;

export async function fleetStatus({ store, controllers, cluster, counts, startedAt }: StatusDeps): Promise<FleetStatus> {
  const { items } = await store.list({ kind: "Node" });
  const idle = controllers.idleServices();
  return {
    version: VERSION,
    epoch: store.epoch,
    revision: store.revision,
    startedAt,
    cluster,
    counts: counts.current(),
    idleServices: { count: idle.length, first: idle.slice(0, MAX_NAMED) },
    nodes: items.flatMap((node) => (node.kind === "Node" ? [nodeStatus(node, controllers)] : [])),
  };
}

function nodeStatus(node: Node, { leases, receipts }: StatusDeps["controllers"]): FleetStatus["nodes"][number] {
  const { name } = node.metadata;
  const lease = leases.of(name);
  const applied = receipts.appliedBy(name);
  return {
    name,
    ready: isNodeReady(node),
    ...(isKeptByBrake(node) && { kept: true }),
    addresses: [...internalIpsOf(node)],
    ...(applied !== undefined && { applied, behind: Math.max(receipts.followed - applied, 0) }),
    ...(lease?.lastHeardMs !== undefined && { lastHeardMs: Math.round(lease.lastHeardMs) }),
    problems: [...(lease?.problems ?? [])],
  };
}
