import type { ClusterFacts } from "#proto/agents.ts";
import { parseIp, type IpFamily } from "#proto/ip.ts";
import { keyOf } from "#proto/meta.ts";
import type { Store, StoredChange } from "../store/store.ts";
import { nodeClaims } from "./node.ts";
import { createNodeNetworks, type NodeNetworks } from "./node-networks.ts";
import { addressIn, createOutsideAddresses, type OutsideAddresses } from "./outside-addresses.ts";
import { createPool, type Pool } from "./pool.ts";
import { loadBalancerRanges, virtualRanges, type Ranges } from "./ranges.ts";
import { serviceClaims } from "./service.ts";
import type { PortRange } from "./service-ports.ts";

/** What is given out and to whom, in memory, corrected by every commit: for choosing and for saying who has it. The store's claims decide. */
export interface Taken {
  readonly ranges: Ranges;
  readonly pools: ReadonlyMap<IpFamily, Pool>;
  readonly balancerRanges: Ranges;
  readonly balancerPools: ReadonlyMap<IpFamily, Pool>;
  readonly portRange: PortRange;
  readonly portPool: Pool;
  readonly networks: NodeNetworks;
  readonly outside: OutsideAddresses;
  /** Stops following the store. */
  readonly close: () => void;
}

export interface TakenDeps {
  readonly store: Store;
  readonly cluster: Pick<ClusterFacts, "serviceCidrs" | "dnsIps" | "nodePortRange">;
  readonly loadBalancerCidrs: readonly string[];
  readonly random: () => number;
}

type How = "use" | "release";

export async function followTaken({ store, cluster, loadBalancerCidrs, random }: TakenDeps): Promise<Taken> {
  const { from, to } = cluster.nodePortRange;
  const ranges = virtualRanges(cluster);
  const balancerRanges = loadBalancerRanges(loadBalancerCidrs);
  const pools = poolsOf(ranges, random);
  const balancerPools = poolsOf(balancerRanges, random);
  const portPool = createPool({ size: to - from + 1, reserved: new Set(), random });
  const networks = createNodeNetworks();
  const outside = createOutsideAddresses();

  function mark(claim: string, how: How, owner: string): void {
    const [what, ...rest] = claim.split("/");
    if (what === "ip") markAddress(ranges, pools, rest.join("/"), how);
    const address = addressIn(claim);
    if (address !== undefined) markAddress(balancerRanges, balancerPools, address, how);
    if (what === "load-balancer" || what === "external-ip") outside[how](claim, owner);
    const port = what === "nodeport" ? Number(rest[1]) : NaN;
    if (port >= from && port <= to) portPool[how](port - from);
  }

  function follow(changes: readonly StoredChange[]): void {
    for (const { type, object, previous } of changes) {
      if (object.kind !== "Node" && object.kind !== "Service") continue;
      if (object.kind === "Node" && type === "DELETED") networks.delete(object.metadata.name);
      else if (object.kind === "Node") networks.put(object);
      const owner = keyOf(object);
      const before = previous?.kind === "Service" ? serviceClaims(previous) : previous?.kind === "Node" ? nodeClaims(previous) : [];
      const after = type === "DELETED" ? [] : object.kind === "Service" ? serviceClaims(object) : nodeClaims(object);
      for (const claim of before) mark(claim, "release", owner);
      for (const claim of after) mark(claim, "use", owner);
    }
  }

  const close = store.onCommit(follow);
  for (const prefix of ["ip/", "nodeport/", "node-address/"]) for (const claim of await store.claims(prefix)) mark(claim, "use", "");
  for (const prefix of ["load-balancer/", "external-ip/"])
    for (const claim of await store.claims(prefix)) {
      const owner = await store.claimOwner(claim);
      if (owner) mark(claim, "use", `${owner.namespace}/${owner.name}`);
    }
  for (const node of (await store.list({ kind: "Node" })).items) if (node.kind === "Node") networks.put(node);
  return { ranges, pools, balancerRanges, balancerPools, portRange: { from, to }, portPool, networks, outside, close };
}

function poolsOf(ranges: Ranges, random: () => number): ReadonlyMap<IpFamily, Pool> {
  const pools = new Map<IpFamily, Pool>();
  for (const family of ranges.families) {
    const range = ranges.of(family);
    if (range) pools.set(family, createPool({ size: range.size, reserved: range.reserved, random }));
  }
  return pools;
}

function markAddress(ranges: Ranges, pools: ReadonlyMap<IpFamily, Pool>, text: string, how: How): void {
  const ip = parseIp(text);
  const index = ip && ranges.of(ip.family)?.indexOf(ip);
  if (ip && index !== undefined) pools.get(ip.family)?.[how](index);
}
