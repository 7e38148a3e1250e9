import type { EndpointSlice } from "./endpoint-slice.ts";
import { SERVICE_NAME_LABEL } from "./endpoint-slice.ts";
import type { Event } from "./event.ts";
import type { KindName, ObjectOf } from "./kinds.ts";
import type { Labels } from "./meta.ts";
import type { Namespace } from "./namespace.ts";
import { isKeptByBrake, isNodeReady, type Node } from "./node.ts";
import { clusterIpsOf, isHeadless, type Service } from "./service.ts";
import { needsVerdict, type Workload } from "./workload.ts";
import { age } from "./age.ts";

/**
 * What `get` shows of each kind, in the CLI and in the Tables that the server makes for kubectl: Kubernetes' own columns, so that its users read them without
 * learning. Names are as Kubernetes' Tables have them; people see them in capitals. Pure; `now` in ms.
 */

export interface Column<T> {
  readonly name: string;
  /** Only with -o wide. */
  readonly wide?: true;
  cell(object: T, now: number): string;
}

const NONE = "<none>";
const UNKNOWN = "<unknown>";
const UNSET = "<unset>";
const AGE = {
  name: "Age",
  cell: (object: { metadata: { creationTimestamp?: string | undefined } }, now: number) => age(object.metadata.creationTimestamp, now),
};
const NAME = { name: "Name", cell: (object: { metadata: { name: string } }) => object.metadata.name };

const service: Column<Service>[] = [
  NAME,
  { name: "Type", cell: ({ spec }) => spec.type },
  { name: "Cluster-IP", cell: (one) => (isHeadless(one) ? "None" : (clusterIpsOf(one)[0] ?? NONE)) },
  { name: "External-IP", cell: externalIps },
  { name: "Port(s)", cell: ({ spec }) => orNone(spec.ports.map(servicePortText).join(",")) },
  AGE,
  { name: "Selector", wide: true, cell: ({ spec }) => labelsText(spec.selector) },
];

const endpointSlice: Column<EndpointSlice>[] = [
  NAME,
  { name: "AddressType", cell: ({ addressType }) => addressType },
  { name: "Ports", cell: ({ ports }) => firstThree(ports.map(({ port }) => (port === undefined ? "*" : String(port)))) },
  { name: "Endpoints", cell: ({ endpoints }) => firstThree(endpoints.map(({ addresses }) => addresses[0] ?? "")) },
  AGE,
  { name: "Service", wide: true, cell: ({ metadata }) => metadata.labels?.[SERVICE_NAME_LABEL] ?? NONE },
  {
    name: "Ready",
    wide: true,
    cell: ({ endpoints }) => `${endpoints.filter(({ conditions }) => conditions.ready !== false).length}/${endpoints.length}`,
  },
  {
    name: "Nodes",
    wide: true,
    cell: ({ endpoints }) => orNone([...new Set(endpoints.flatMap(({ nodeName }) => nodeName ?? []))].join(",")),
  },
];

const node: Column<Node>[] = [
  NAME,
  { name: "Status", cell: nodeStatusText },
  { name: "Roles", cell: rolesOf },
  AGE,
  { name: "Version", cell: ({ status }) => orNone(status.nodeInfo?.kubeletVersion ?? "") },
  { name: "Internal-IP", wide: true, cell: (one) => nodeAddress(one, "InternalIP") },
  { name: "External-IP", wide: true, cell: (one) => nodeAddress(one, "ExternalIP") },
  { name: "OS-Image", wide: true, cell: ({ status }) => status.nodeInfo?.osImage ?? UNKNOWN },
  { name: "Kernel-Version", wide: true, cell: ({ status }) => status.nodeInfo?.kernelVersion ?? UNKNOWN },
];

const namespace: Column<Namespace>[] = [NAME, { name: "Status", cell: ({ status }) => status.phase ?? "Active" }, AGE];

const event: Column<Event>[] = [
  { name: "Last Seen", cell: (one, now) => age(lastSeen(one), now) },
  { name: "Type", cell: ({ type }) => type },
  { name: "Reason", cell: ({ reason }) => reason },
  { name: "Object", cell: ({ involvedObject: { kind = "", name = "" } }) => `${kind.toLowerCase()}/${name}` },
  {
    name: "Source",
    wide: true,
    cell: ({ source, reportingComponent: component = source.component, reportingInstance: host = source.host }) =>
      orNone([component, host].filter((one) => one !== undefined && one !== "").join(", ")),
  },
  { name: "Message", cell: ({ message }) => message },
  { name: "Count", wide: true, cell: ({ count = 1 }) => String(count) },
  { name: "Name", wide: true, cell: ({ metadata }) => metadata.name },
];

const workload: Column<Workload>[] = [
  NAME,
  { name: "Node", cell: ({ spec }) => spec.node },
  { name: "Address", cell: ({ spec }) => spec.address ?? "<node's>" },
  { name: "Ports", cell: ({ spec }) => orNone(spec.ports.map(({ port, protocol }) => `${port}/${protocol}`).join(",")) },
  { name: "Ready", cell: workloadReadyText },
  AGE,
  { name: "Weight", wide: true, cell: ({ spec }) => String(spec.weight) },
  { name: "Reason", wide: true, cell: ({ status }) => orNone(status.reason ?? "") },
];

const columns: { readonly [Kind in KindName]: readonly Column<ObjectOf<Kind>>[] } = {
  Namespace: namespace,
  Service: service,
  EndpointSlice: endpointSlice,
  Workload: workload,
  Node: node,
  Event: event,
};

export function columnsOf<Kind extends KindName>(kind: Kind, { wide }: { wide: boolean }): readonly Column<ObjectOf<Kind>>[] {
  return columns[kind].filter((column) => wide || column.wide !== true);
}

/** `80:30080/TCP`. */
export function servicePortText({ port, nodePort, protocol }: Service["spec"]["ports"][number]): string {
  return `${port}${nodePort === undefined ? "" : `:${nodePort}`}/${protocol}`;
}

export function labelsText(labels: Labels | undefined): string {
  return orNone(
    Object.entries(labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
  );
}

export function nodeStatusText(one: Node): string {
  const judged = one.status.conditions.some(({ type }) => type === "Ready") && !isKeptByBrake(one);
  const ready = judged ? (isNodeReady(one) ? "Ready" : "NotReady") : "Unknown";
  return one.spec.unschedulable === true ? `${ready},SchedulingDisabled` : ready;
}

/** Workloads without checks need no verdict; one with checks that has none yet is not known to be ready. */
export function workloadReadyText(workload: Workload): string {
  const { metadata, spec, status } = workload;
  if (metadata.deletionTimestamp !== undefined) return "Terminating";
  const ready = status.ready ?? (needsVerdict(workload) ? undefined : true);
  const text = ready === undefined ? "Unknown" : ready ? "True" : "False";
  return spec.drain ? `${text},Draining` : text;
}

export function lastSeen({ series, lastTimestamp, firstTimestamp, eventTime, metadata }: Event): string | undefined {
  return series?.lastObservedTime ?? lastTimestamp ?? firstTimestamp ?? eventTime ?? metadata.creationTimestamp;
}

function externalIps({ spec, status }: Service): string {
  if (spec.type === "ExternalName") return spec.externalName ?? NONE;
  const given = spec.externalIPs ?? [];
  if (spec.type !== "LoadBalancer") return orNone(given.join(","));
  const assigned = (status.loadBalancer.ingress ?? []).flatMap(({ ip, hostname }) => ip ?? hostname ?? []);
  return [...assigned, ...given].join(",") || "<pending>";
}

function rolesOf({ metadata }: Node): string {
  const prefix = "node-role.kubernetes.io/";
  const roles = Object.keys(metadata.labels ?? {}).filter((key) => key.startsWith(prefix));
  return orNone(roles.map((key) => key.slice(prefix.length)).join(","));
}

function nodeAddress(one: Node, type: string): string {
  return one.status.addresses.find((address) => address.type === type)?.address ?? NONE;
}

function firstThree(all: readonly string[]): string {
  if (all.length === 0) return UNSET;
  const shown = all.slice(0, 3).join(",");
  return all.length > 3 ? `${shown} + ${all.length - 3} more...` : shown;
}

function orNone(text: string): string {
  return text === "" ? NONE : text;
}
