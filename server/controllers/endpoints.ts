import { isDeepStrictEqual } from "node:util";
import {
  HEADLESS_LABEL,
  MANAGED_BY_LABEL,
  MANAGED_BY_US,
  MAX_ENDPOINTS_PER_SLICE,
  REACH_LABEL,
  reachOf,
  SERVICE_NAME_LABEL,
  type Endpoint,
  type EndpointPort,
  type EndpointSlice,
} from "#proto/endpoint-slice.ts";
import { parseIp, type IpFamily } from "#proto/ip.ts";
import { isHeadless, PROXY_NAME_LABEL, type Service, type ServicePort } from "#proto/service.ts";
import type { Reach } from "#proto/workload.ts";
import type { NodeFacts, WorkloadFacts } from "./fleet-view.ts";

/**
 * selector × workloads × health of hosts → the EndpointSlices of one service. Pure. Endpoints stay in the slice where they are, so that one
 * change rewrites one slice, however many the service has.
 */
export interface SliceInput {
  readonly service: Service;
  /** Those that its selector matches. */
  readonly workloads: readonly WorkloadFacts[];
  readonly node: (name: string) => NodeFacts | undefined;
  /** Its slices that are ours. */
  readonly existing: readonly EndpointSlice[];
  /** For each slice that has to be made. */
  readonly newName: () => string;
}

/** What distinguishes the content of a slice; the writer adds what the store keeps about any object. */
export interface SliceDraft {
  readonly name: string;
  readonly addressType: IpFamily;
  readonly ports: EndpointPort[];
  readonly endpoints: Endpoint[];
  readonly labels: Record<string, string>;
}

export interface SlicePlan {
  readonly create: readonly SliceDraft[];
  readonly replace: readonly { readonly existing: EndpointSlice; readonly draft: SliceDraft }[];
  readonly remove: readonly EndpointSlice[];
}

interface Group {
  readonly addressType: IpFamily;
  readonly ports: EndpointPort[];
  readonly labels: Record<string, string>;
  /** By the name of the workload. */
  readonly endpoints: Map<string, Endpoint>;
}

export function planSlices({ service, workloads, node, existing, newName }: SliceInput): SlicePlan {
  const groups = groupEndpoints(service, workloads, node);
  const create: SliceDraft[] = [];
  const replace: { existing: EndpointSlice; draft: SliceDraft }[] = [];
  const remove: EndpointSlice[] = [];
  const slicesByGroup = Map.groupBy(existing, (slice) => groupKey(slice.addressType, slice.ports, reachOf(slice)));

  for (const [key, slices] of slicesByGroup) if (!groups.has(key)) remove.push(...slices);
  for (const [key, group] of groups) {
    const { labels } = group;
    const { kept, added } = pack(group, slicesByGroup.get(key) ?? []);
    for (const { slice, endpoints } of kept) {
      if (endpoints.length === 0) remove.push(slice);
      else if (!isDeepStrictEqual(endpoints, slice.endpoints) || !isDeepStrictEqual(labels, slice.metadata.labels))
        replace.push({ existing: slice, draft: { ...group, name: slice.metadata.name, endpoints, labels } });
    }
    for (const endpoints of added) create.push({ ...group, name: newName(), endpoints, labels });
  }
  return { create, replace, remove };
}

/** Workloads whose ports come to the same numbers and that the same hosts can reach share slices: a slice has one list of ports, and one label. */
function groupEndpoints(service: Service, workloads: readonly WorkloadFacts[], node: SliceInput["node"]): Map<string, Group> {
  const groups = new Map<string, Group>();
  if (service.spec.type === "ExternalName") return groups;
  // In the order of names, so that the same state makes the same slices.
  for (const workload of workloads.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const family = parseIp(workload.address ?? "")?.family;
    if (family === undefined || workload.address === undefined) continue;
    if (service.spec.ipFamilies && !service.spec.ipFamilies.includes(family)) continue;
    const ports = resolvePorts(service.spec.ports, workload);
    if (ports.length === 0 && service.spec.ports.length > 0) continue; // it has none of the named ports
    const { reach } = workload;
    const key = groupKey(family, ports, reach);
    const group = groups.get(key) ?? {
      addressType: family,
      ports,
      labels: labelsFor(service, reach),
      endpoints: new Map<string, Endpoint>(),
    };
    groups.set(key, group);
    group.endpoints.set(workload.name, endpointOf(service, workload, workload.address, node(workload.node)));
  }
  return groups;
}

function groupKey(addressType: string, ports: readonly EndpointPort[], reach: Reach): string {
  const parts = ports.map(({ name = "", protocol, port, appProtocol = "" }) => [name, protocol, port ?? 0, appProtocol].join(" "));
  return [addressType, reach, ...parts].join(",");
}

function resolvePorts(ports: readonly ServicePort[], workload: WorkloadFacts): EndpointPort[] {
  return ports.flatMap(({ name = "", protocol, port, targetPort = port, appProtocol }) => {
    const number = portOf(workload, targetPort, protocol);
    if (number === undefined) return [];
    return [{ name, protocol, port: number, ...(appProtocol !== undefined && { appProtocol }) }];
  });
}

/** A number is the port itself, but for what a container engine publishes as another. */
function portOf({ ports }: WorkloadFacts, targetPort: number | string, protocol: ServicePort["protocol"]): number | undefined {
  const ofProtocol = ports.filter((candidate) => candidate.protocol === protocol);
  if (typeof targetPort === "string") return ofProtocol.find(({ name }) => name === targetPort)?.port;
  return ofProtocol.find(({ containerPort }) => containerPort === targetPort)?.port ?? targetPort;
}

function endpointOf(service: Service, workload: WorkloadFacts, address: string, node: NodeFacts | undefined): Endpoint {
  const serving = workload.passesChecks && node?.serving === true;
  // A drained host is left alone while there are other endpoints; if there are none, what still serves there is used.
  const terminating = workload.terminating || node?.unschedulable === true;
  const ready = service.spec.publishNotReadyAddresses === true || (serving && !terminating);
  const hints = ready ? hintsFor(service, workload.node, node?.zone) : undefined;
  return {
    addresses: [address],
    conditions: { ready, serving, terminating },
    hostname: workload.name,
    nodeName: workload.node,
    ...(node?.zone !== undefined && { zone: node.zone }),
    ...(workload.weight !== 1 && { weight: workload.weight }),
    ...(hints && { hints }),
    targetRef: {
      kind: "Workload",
      namespace: workload.namespace,
      name: workload.name,
      ...(workload.uid !== undefined && { uid: workload.uid }),
    },
  };
}

/**
 * Who should prefer it (Service.spec.trafficDistribution), as Kubernetes' controller says it: of each ready endpoint by itself, so that a change of one
 * rewrites no other. Whoever reads them takes no notice while one of them has none. PreferSameNode names the zone too: the next best.
 */
function hintsFor({ spec }: Service, nodeName: string, zone: string | undefined): Endpoint["hints"] {
  if (spec.trafficDistribution === undefined) return undefined;
  const forZones = zone === undefined ? undefined : { forZones: [{ name: zone }] };
  return spec.trafficDistribution === "PreferSameNode" ? { ...forZones, forNodes: [{ name: nodeName }] } : forZones;
}

/** Somebody else's proxy on another host would send to what it cannot reach: slices that name a proxy it leaves alone. */
const ONLY_OURS = "fairlead";

function labelsFor(service: Service, reach: Reach): Record<string, string> {
  const proxy = service.metadata.labels?.[PROXY_NAME_LABEL] ?? (reach === "Node" ? ONLY_OURS : undefined);
  return {
    [SERVICE_NAME_LABEL]: service.metadata.name,
    [MANAGED_BY_LABEL]: MANAGED_BY_US,
    ...(isHeadless(service) && { [HEADLESS_LABEL]: "" }),
    ...(proxy !== undefined && { [PROXY_NAME_LABEL]: proxy }),
    ...(reach !== "Fleet" && { [REACH_LABEL]: reach }),
  };
}

interface Packed {
  readonly slice: EndpointSlice;
  readonly endpoints: Endpoint[];
  changed: boolean;
}

function pack(group: Group, slices: readonly EndpointSlice[]): { kept: readonly Packed[]; added: readonly Endpoint[][] } {
  const rest = new Map(group.endpoints);
  const kept: Packed[] = slices.map((slice) => {
    const endpoints = slice.endpoints.flatMap((before) => {
      const name = before.targetRef?.name ?? "";
      const now = rest.get(name);
      rest.delete(name);
      return now ? [now] : [];
    });
    return { slice, endpoints, changed: !isDeepStrictEqual(endpoints, slice.endpoints) };
  });
  // New ones go where something is written anyhow, else where least room is left, so that few slices are written and few stay half empty.
  const withRoom = kept
    .filter(({ endpoints }) => endpoints.length < MAX_ENDPOINTS_PER_SLICE)
    .toSorted((a, b) => Number(b.changed) - Number(a.changed) || b.endpoints.length - a.endpoints.length);
  const waiting = [...rest.values()];
  for (const { endpoints } of withRoom) endpoints.push(...waiting.splice(0, MAX_ENDPOINTS_PER_SLICE - endpoints.length));
  const added: Endpoint[][] = [];
  while (waiting.length > 0) added.push(waiting.splice(0, MAX_ENDPOINTS_PER_SLICE));
  return { kept, added };
}
