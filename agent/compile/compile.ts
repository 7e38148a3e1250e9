import { contains, formatCidr, formatIp, parseCidr, parseIp, type Cidr } from "#proto/ip.ts";
import { clusterIpsOf, DEFAULT_AFFINITY_SECONDS, type Service, type ServicePort } from "#proto/service.ts";
import type { Endpoint, EndpointSlice } from "#proto/endpoint-slice.ts";
import type { ClusterState, Touched } from "#agent/sync/state.ts";
import { chooseEndpoints } from "./endpoints.ts";
import {
  idOf,
  sameService,
  type CompiledService,
  type ForwardingTable,
  type Frontend,
  type HostTable,
  type ServiceChange,
  type ServiceKey,
} from "./table.ts";

/** From what this host heard to what its kernel must do. Pure: the same state gives the same table, and a change costs what it touches. */

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

export function compileTable(state: ClusterState, node: NodeContext): ForwardingTable {
  const services = new Map<ServiceKey, CompiledService>();
  for (const key of state.services.keys()) {
    const compiled = compileService(state, node, key);
    if (compiled) services.set(key, compiled);
  }
  return { host: compileHost(state, node), services };
}

/** Only of the services that were touched, and only of those that now mean something else to the kernel. `touched.all`: use compileTable. */
export function compileChanges(
  previous: ReadonlyMap<ServiceKey, CompiledService>,
  state: ClusterState,
  touched: Pick<Touched, "services">,
  node: NodeContext,
): readonly ServiceChange[] {
  const changes: ServiceChange[] = [];
  for (const key of [...touched.services].toSorted()) {
    const before = previous.get(key);
    const after = compileService(state, node, key);
    if (!sameService(before, after)) changes.push({ key, previous: before, next: after });
  }
  return changes;
}

export function compileHost(state: ClusterState, node: NodeContext): HostTable {
  return {
    serviceCidrs: canonicalCidrs(state.cluster?.serviceCidrs ?? []).map(formatCidr),
    nodeIps: [...new Set(node.addresses.flatMap(canonicalIp))].toSorted(),
    localCidrs: [...new Set(canonicalCidrs(node.localCidrs).map(formatCidr))].toSorted(),
    masqueradeAll: node.masqueradeAll,
    nodePortCidrs: [...new Set(canonicalCidrs(node.nodePortCidrs).map(formatCidr))].toSorted(),
  };
}

/** undefined when the Service means nothing to the kernel: headless, ExternalName, without an address yet, or gone. */
export function compileService(state: ClusterState, node: NodeContext, key: ServiceKey): CompiledService | undefined {
  const service = state.services.get(key);
  if (!service) return undefined;
  const slices = [...(state.slicesByService.get(key)?.values() ?? [])];
  const dnsIps = new Set(state.cluster?.dnsIps.flatMap(canonicalIp));
  const frontends = clusterIpsOf(service)
    .flatMap(canonicalIp)
    .flatMap((address) => service.spec.ports.map((port) => frontendOf({ key, service, port, address, slices, node })))
    .filter((frontend) => frontend !== undefined)
    // The agent of each host answers at the DNS service's address itself, unless somebody gave that service endpoints.
    .filter(({ address, backends }) => backends.length > 0 || !dnsIps.has(address))
    .toSorted(inOrder);
  return frontends.length === 0 ? undefined : { key, frontends, healthCheck: undefined, refused: [] };
}

interface FrontendSource {
  readonly key: ServiceKey;
  readonly service: Service;
  readonly port: ServicePort;
  readonly address: string;
  readonly slices: readonly EndpointSlice[];
  readonly node: NodeContext;
}

function frontendOf({ key, service, port, address, slices, node }: FrontendSource): Frontend | undefined {
  const family = parseIp(address)?.family;
  if (family === undefined) return undefined;
  const { spec } = service;
  const choice = chooseEndpoints(slices, {
    family,
    protocol: port.protocol,
    portName: port.name ?? "",
    policy: spec.internalTrafficPolicy,
    publishNotReady: spec.publishNotReadyAddresses ?? false,
    isLocal: localityOf(node),
  });
  return {
    id: idOf(key, port.name),
    family,
    scope: "cluster",
    address,
    protocol: port.protocol,
    port: port.port,
    ...choice,
    outside: undefined,
    sourceRanges: undefined,
    affinitySeconds: affinityOf(service),
    scheduler: undefined,
  };
}

/** By the name of the node; where a hand-made slice names none, by the address. */
function localityOf(node: NodeContext): (endpoint: Endpoint, address: string) => boolean {
  const cidrs = canonicalCidrs(node.localCidrs);
  return (endpoint, address) => {
    if (endpoint.nodeName !== undefined) return endpoint.nodeName === node.name;
    const ip = parseIp(address);
    return node.addresses.includes(address) || (ip !== undefined && cidrs.some((cidr) => contains(cidr, ip)));
  };
}

function affinityOf({ spec }: Service): number | undefined {
  if (spec.sessionAffinity !== "ClientIP") return undefined;
  return spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_SECONDS;
}

function inOrder(a: Frontend, b: Frontend): number {
  if (a.address !== b.address) return a.address < b.address ? -1 : 1;
  if (a.protocol !== b.protocol) return a.protocol < b.protocol ? -1 : 1;
  return a.port - b.port;
}

function canonicalIp(text: string): string[] {
  const ip = parseIp(text);
  return ip ? [formatIp(ip)] : [];
}

function canonicalCidrs(texts: readonly string[]): Cidr[] {
  return texts.map(parseCidr).filter((cidr) => cidr !== undefined);
}
