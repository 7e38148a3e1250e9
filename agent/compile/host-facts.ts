import type { Endpoint } from "#proto/endpoint-slice.ts";
import { contains, formatIp, parseCidr, type Cidr, type Ip } from "#proto/ip.ts";
import { ZONE_LABEL, type Node } from "#proto/node.ts";
import type { ClusterState } from "#agent/sync/state.ts";
import { sloppyIp } from "./sloppy-ip.ts";

/** What compile must know about the host that it compiles for. */
export interface NodeContext {
  readonly name: string;
  /** Addresses of this node. */
  readonly addresses: readonly string[];
  /** Prefixes behind this host (container bridges). */
  readonly localCidrs: readonly string[];
  readonly masqueradeAll: boolean;
  /** Where node ports are; empty = all addresses of the host but loopback. */
  readonly nodePortCidrs: readonly string[];
  /** topology.kubernetes.io/zone of this node. */
  readonly zone: string | undefined;
  /** Addresses that no Service may take on this host, each with the reason: its gateways, its name servers. */
  readonly reservedAddresses: ReadonlyMap<string, string>;
}

/** The same, read once for all the services that are compiled together. */
export interface HostFacts {
  readonly name: string;
  readonly zone: string | undefined;
  readonly nodeIps: readonly Ip[];
  readonly serviceCidrs: readonly Cidr[];
  /** The DNS service's addresses: the agent answers there itself. */
  readonly dnsIps: ReadonlySet<string>;
  /** Canonical address → why no Service may have it here. */
  readonly reserved: ReadonlyMap<string, string>;
  isLocal(endpoint: Endpoint, address: Ip): boolean;
}

export function hostFactsOf(state: Pick<ClusterState, "cluster">, node: NodeContext): HostFacts {
  const nodeIps = ipsIn(node.addresses);
  const localCidrs = cidrsIn(node.localCidrs);
  const reserved = new Map<string, string>();
  for (const [address, why] of node.reservedAddresses) for (const ip of ipsIn([address])) reserved.set(formatIp(ip), why);
  for (const ip of nodeIps) reserved.set(formatIp(ip), "it is an address of this host itself");
  return {
    name: node.name,
    zone: node.zone,
    nodeIps,
    serviceCidrs: cidrsIn(state.cluster?.serviceCidrs ?? []),
    dnsIps: new Set(ipsIn(state.cluster?.dnsIps ?? []).map(formatIp)),
    reserved,
    // By the name of the node; where a hand-made slice names none, by the address.
    isLocal: ({ nodeName }, address) =>
      nodeName === undefined
        ? nodeIps.some((ip) => isSame(ip, address)) || localCidrs.some((cidr) => contains(cidr, address))
        : nodeName === node.name,
  };
}

/** The zone that a Node object says it is in. */
export function zoneOf(node: Node | undefined): string | undefined {
  return node?.metadata.labels?.[ZONE_LABEL];
}

export function cidrsIn(texts: readonly string[]): readonly Cidr[] {
  return texts.map(parseCidr).filter((cidr) => cidr !== undefined);
}

function ipsIn(texts: readonly string[]): readonly Ip[] {
  return texts.map(sloppyIp).filter((ip) => ip !== undefined);
}

function isSame(a: Ip, b: Ip): boolean {
  return a.family === b.family && a.value === b.value;
}
