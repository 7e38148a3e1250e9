import type { KubeObject } from "./reflector.ts";

/**
 * What a stock kube-proxy programs for virtual IPs, from what it hears: pkg/proxy/{servicechangetracker,endpointslicecache,topology}.go of 1.36, written anew from the reading.
 * Pure; not a line of it is shared with our agent.
 */

export interface ProxyWorld {
  readonly services: Iterable<KubeObject>;
  readonly slices: Iterable<KubeObject>;
  readonly node: { readonly name: string; readonly zone: string | undefined };
}

interface ServiceFields {
  readonly type?: string;
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly internalTrafficPolicy?: string;
  readonly ports?: readonly { readonly name?: string; readonly protocol?: string; readonly port: number }[];
}
interface EndpointFields {
  readonly addresses: readonly string[];
  readonly conditions?: { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };
  readonly nodeName?: string;
  readonly hints?: { readonly forZones?: readonly { name: string }[]; readonly forNodes?: readonly { name: string }[] };
}
interface SliceFields {
  readonly addressType: string;
  readonly endpoints: readonly EndpointFields[] | null;
  readonly ports: readonly { readonly name?: string; readonly protocol?: string; readonly port?: number }[] | null;
}

interface Endpoint {
  readonly at: string;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly isLocal: boolean;
  readonly zones: readonly string[];
  readonly nodes: readonly string[];
}

/** `10.96.0.20:80/TCP` → `192.168.56.11:8080`, sorted; empty = refused. */
export function programmed({ services, slices, node }: ProxyWorld): Map<string, readonly string[]> {
  const byService = Map.groupBy(slices, ({ metadata }) => `${metadata.namespace}/${metadata.labels?.["kubernetes.io/service-name"]}`);
  const table = new Map<string, readonly string[]>();
  for (const { metadata, spec } of services) {
    const fields = spec as ServiceFields;
    if (fields.type === "ExternalName" || fields.clusterIP === "None" || (fields.clusterIP ?? "") === "") continue;
    const own = byService.get(`${metadata.namespace}/${metadata.name}`) ?? [];
    for (const vip of fields.clusterIPs ?? [])
      for (const { name = "", protocol = "TCP", port } of fields.ports ?? []) {
        const family = vip.includes(":") ? "IPv6" : "IPv4";
        const endpoints = own.flatMap((slice) =>
          endpointsOf(slice as unknown as SliceFields, { family, portName: name, protocol }, node.name),
        );
        table.set(`${vip}:${port}/${protocol}`, chosen(endpoints, fields, node));
      }
  }
  return table;
}

function endpointsOf(
  { addressType, endpoints, ports }: SliceFields,
  { family, portName, protocol }: { family: string; portName: string; protocol: string },
  node: string,
): Endpoint[] {
  if (addressType !== family) return [];
  return (ports ?? [])
    .filter(({ name = "", protocol: own = "TCP" }) => name === portName && own === protocol)
    .flatMap(({ port }) =>
      (endpoints ?? []).map(({ addresses, conditions, nodeName, hints }) => ({
        at: family === "IPv6" ? `[${addresses[0]}]:${port}` : `${addresses[0]}:${port}`,
        ready: conditions?.ready ?? true,
        serving: conditions?.serving ?? conditions?.ready ?? true,
        terminating: conditions?.terminating ?? false,
        isLocal: nodeName === node,
        zones: (hints?.forZones ?? []).map(({ name }) => name),
        nodes: (hints?.forNodes ?? []).map(({ name }) => name),
      })),
    );
}

/** CategorizeEndpoints, for clients inside. */
function chosen(endpoints: readonly Endpoint[], { internalTrafficPolicy }: ServiceFields, node: ProxyWorld["node"]): readonly string[] {
  const candidates = internalTrafficPolicy === "Local" ? endpoints.filter(({ isLocal }) => isLocal) : endpoints;
  const ready = candidates.filter((one) => one.ready);
  const near = internalTrafficPolicy === "Local" ? ready : nearOf(ready, node);
  const used = near.length > 0 ? near : candidates.filter(({ serving, terminating }) => serving && terminating);
  return [...new Set(used.map(({ at }) => at))].toSorted();
}

/** topologyModeFromHints: of the ready ones all must have a hint, and one must be for here. */
function nearOf(ready: readonly Endpoint[], { name, zone }: ProxyWorld["node"]): readonly Endpoint[] {
  if (ready.every(({ nodes }) => nodes.length > 0) && ready.some(({ nodes }) => nodes.includes(name)))
    return ready.filter(({ nodes }) => nodes.includes(name));
  if (zone === undefined || !ready.every(({ zones }) => zones.length > 0) || !ready.some(({ zones }) => zones.includes(zone))) return ready;
  return ready.filter(({ zones }) => zones.includes(zone));
}
