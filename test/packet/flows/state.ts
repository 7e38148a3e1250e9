import { compileTable, type NodeContext } from "#agent/compile/compile.ts";
import type { ForwardingTable } from "#agent/compile/table.ts";
import type { ClusterState } from "#agent/sync/state.ts";
import { EndpointSlice, serviceKeyOf, SERVICE_NAME_LABEL, type EndpointSliceInput } from "#proto/endpoint-slice.ts";
import type { IpFamily } from "#proto/ip.ts";
import { keyOf } from "#proto/meta.ts";
import { Service } from "#proto/service.ts";
import type { EndpointSketch, PortSketch, ServiceSketch, Setting } from "./flow.ts";
import { nodePortOf, numberOf, targetPortOf, vipOf, type Row } from "./names.ts";
import { addressIn, addressOf, FAMILIES, LOCAL_CIDRS, NODE_CIDRS, nodeOf, RANGES, ZONES } from "./world.ts";

/** From rows to what host 1 would have heard from the server, and through the real compile to its forwarding table. */

/** One table with the services of all these rows: they must not disturb each other either. */
export function tableOf(rows: readonly Row[], setting: Setting): ForwardingTable {
  return compileTable(stateOf(rows), nodeIn(setting));
}

/**
 * Where a host may have come from to `tableOf(rows)`: some services are new, some had no endpoints, some were limited otherwise, the rest is as it will be.
 * `turn` says which; a walk of the table that follows by updates shows that they leave nothing behind.
 */
export function earlierTableOf(rows: readonly Row[], setting: Setting, turn: number): ForwardingTable {
  return tableOf(
    rows.flatMap((row) => {
      const kind = (row.index + turn) % 4;
      if (kind === 0) return [row];
      if (kind === 1) return [];
      return [{ ...row, services: row.services.map(kind === 2 ? withoutEndpoints : otherwiseLimited) }];
    }),
    setting,
  );
}

const withoutEndpoints = (service: ServiceSketch): ServiceSketch => ({ ...service, endpoints: [] });

const otherwiseLimited = ({ spec = {}, endpoints = [], ...service }: ServiceSketch): ServiceSketch => ({
  ...service,
  endpoints: endpoints.map(({ weight = 1, ...endpoint }) => ({ ...endpoint, weight: weight + 1 })),
  spec: {
    ...spec,
    internalTrafficPolicy: spec["internalTrafficPolicy"] === "Local" ? "Cluster" : "Local",
    externalTrafficPolicy: spec["externalTrafficPolicy"] === "Local" ? "Cluster" : "Local",
    loadBalancerSourceRanges: spec["loadBalancerSourceRanges"] ? [] : ["192.0.2.0/24", "2001:db8::/32"],
  },
});

export function nodeIn(setting: Setting): NodeContext {
  return {
    name: "h1",
    addresses: FAMILIES.map((family) => addressOf("h1", family)),
    localCidrs: setting === "no-local-cidrs" ? [] : Object.values(LOCAL_CIDRS),
    masqueradeAll: setting === "masquerade-all",
    nodePortCidrs: setting === "node-port-cidrs" ? Object.values(NODE_CIDRS) : [],
    zone: ZONES.h1,
    reservedAddresses: new Map(),
  };
}

function stateOf(rows: readonly Row[]): ClusterState {
  const services = rows.flatMap((row) => row.services.map((sketch, i) => serviceOf(row, sketch, i)));
  const slices = rows.flatMap((row) => row.services.flatMap((sketch, i) => slicesOf(row, sketch, i)));
  const slicesByService = new Map<string, Map<string, EndpointSlice>>();
  for (const slice of slices) {
    const service = serviceKeyOf(slice) ?? "";
    const others = slicesByService.get(service) ?? new Map<string, EndpointSlice>();
    slicesByService.set(service, others.set(keyOf(slice), slice));
  }
  return {
    revision: 1,
    cluster: {
      domain: "cluster.local",
      serviceCidrs: FAMILIES.map((family) => RANGES.vip[family]),
      dnsIps: FAMILIES.map((family) => addressIn("vip", 2, family)),
      nodePortRange: { from: 30_000, to: 32_767 },
      heartbeatIntervalMs: 1_000,
      nodeTimeoutMs: 5_000,
    },
    namespaces: new Map(),
    nodes: new Map(),
    services: new Map(services.map((service) => [keyOf(service), service])),
    slices: new Map(slices.map((slice) => [keyOf(slice), slice])),
    slicesByService,
    ownWorkloads: new Map(),
  };
}

const nameOf = ({ index }: Row, service: number): string => `row-${index}-${service}`;

const familiesOf = ({ families = FAMILIES }: ServiceSketch): readonly IpFamily[] => families;

function serviceOf(row: Row, sketch: ServiceSketch, i: number): Service {
  const { has = [], spec = {}, annotations = {} } = sketch;
  const families = familiesOf(sketch);
  const type = spec["type"] ?? (has.includes("lb") ? "LoadBalancer" : has.includes("nodePort") ? "NodePort" : "ClusterIP");
  const ports = portsOf(sketch).map((port, p) =>
    type === "ClusterIP" || type === "ExternalName" ? port : { nodePort: nodePortOf(row, i, p), ...port },
  );
  const vips = sketch.vip === "none" ? {} : { clusterIPs: families.map((family) => vipOf(row, i, family)) };
  const externalIPs = has.includes("ext") ? { externalIPs: families.map((family) => addressIn("ext", numberOf(row, i), family)) } : {};
  const ingress = families.map((family) => ({ ip: addressIn("lb", numberOf(row, i), family), ipMode: sketch.ipMode ?? "VIP" }));
  return Service.parse({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: nameOf(row, i), namespace: "flows", annotations },
    spec: { ...vips, ipFamilies: [...families], ...externalIPs, ...spec, type, ports },
    status: { loadBalancer: has.includes("lb") ? { ingress } : {} },
  });
}

const portsOf = ({ spec }: ServiceSketch): readonly PortSketch[] => spec?.ports ?? [{ port: 80 }];

/** Endpoints that have the same ports share a slice: one per family and set of ports. */
function slicesOf(row: Row, sketch: ServiceSketch, i: number): EndpointSlice[] {
  const byPorts = Map.groupBy(sketch.endpoints ?? [], ({ port }) => port);
  return familiesOf(sketch).flatMap((family) =>
    [...byPorts].map(([port, endpoints]) =>
      EndpointSlice.parse({
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: {
          name: `${nameOf(row, i)}-${family.toLowerCase()}-${port ?? "default"}`,
          namespace: "flows",
          labels: { [SERVICE_NAME_LABEL]: nameOf(row, i) },
        },
        addressType: family,
        endpoints: endpoints.map((endpoint) => endpointOf(endpoint, family)),
        ports: portsOf(sketch).map((declared) => slicePortOf(declared, port)),
      }),
    ),
  );
}

function slicePortOf(
  { name, protocol = "TCP", targetPort }: PortSketch,
  own: number | undefined,
): NonNullable<EndpointSliceInput["ports"]>[number] {
  return { ...(name !== undefined && { name }), protocol, port: targetPortOf(own, targetPort, protocol) };
}

function endpointOf(
  { at, port: _, ready, serving, terminating, node, forZones, forNodes, ...rest }: EndpointSketch,
  family: IpFamily,
): NonNullable<EndpointSliceInput["endpoints"]>[number] {
  const names = (all: readonly string[]): { name: string }[] => all.map((name) => ({ name }));
  return {
    addresses: [addressOf(at, family)],
    conditions: {
      ...(ready !== undefined && { ready }),
      ...(serving !== undefined && { serving }),
      ...(terminating !== undefined && { terminating }),
    },
    ...(node !== null && { nodeName: nodeOf(at), zone: ZONES[nodeOf(at)] }),
    ...((forZones ?? forNodes) && {
      hints: { ...(forZones && { forZones: names(forZones) }), ...(forNodes && { forNodes: names(forNodes) }) },
    }),
    ...rest,
  };
}
