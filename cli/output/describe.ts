import type { EndpointSlice } from "#proto/endpoint-slice.ts";
import { SERVICE_NAME_LABEL } from "#proto/endpoint-slice.ts";
import type { Namespace } from "#proto/namespace.ts";
import { routedCidrsOf, type Node } from "#proto/node.ts";
import type { Workload } from "#proto/workload.ts";
import { age } from "#proto/age.ts";
import { nodeStatusText, workloadReadyText } from "#proto/columns.ts";
import { fields, metadataFields, section, type Field } from "./describe-text.ts";

/** What `describe` says of each kind but Service, without the events. Pure; `now` in ms. */

export function describeNamespace(namespace: Namespace, counts: Readonly<Record<string, number>>): string {
  return fields([
    ...metadataFields(namespace.metadata),
    ["Status", namespace.status.phase ?? "Active"],
    ...Object.entries(counts).map(([name, count]): Field => [name, String(count)]),
  ]);
}

export function describeNode(node: Node, workloads: readonly Workload[], now: number): string {
  const { nodeInfo } = node.status;
  const routed = routedCidrsOf(node);
  const head = fields([
    ...metadataFields(node.metadata),
    ["Created", node.metadata.creationTimestamp ?? "<unknown>"],
    ["Status", nodeStatusText(node)],
    ["Drained", node.spec.unschedulable === true ? "yes: its workloads get no new connections while there are others" : "no"],
    ["Addresses", node.status.addresses.map(({ type, address }) => `${type}: ${address}`)],
    ["Prefixes behind it", node.spec.podCIDRs ?? []],
    ...(routed.length > 0 ? [["Routed to it", routed] as const] : []),
    ["Kernel", nodeInfo?.kernelVersion ?? "<unknown>"],
    ["OS", [nodeInfo?.osImage, nodeInfo?.architecture].filter((text) => text !== undefined).join(", ") || "<unknown>"],
    ["Agent", nodeInfo?.kubeletVersion ?? "<unknown>"],
  ]);
  const conditions = section(
    "Conditions",
    ["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"],
    node.status.conditions.map((one) => [one.type, one.status, age(one.lastTransitionTime, now), one.reason ?? "", one.message ?? ""]),
  );
  const running = section(
    "Workloads",
    ["NAMESPACE", "NAME", "ADDRESS", "READY", "REASON"],
    workloads.map((one) => [
      one.metadata.namespace ?? "",
      one.metadata.name,
      one.spec.address ?? "<node's>",
      workloadReadyText(one),
      one.status.reason ?? "",
    ]),
  );
  return head + conditions + running;
}

export function describeWorkload(workload: Workload, services: readonly string[]): string {
  const { metadata, spec, status } = workload;
  return fields([
    ...metadataFields(metadata),
    ["Created", metadata.creationTimestamp ?? "<unknown>"],
    ["Node", spec.node],
    ["Address", spec.address ?? "<the node's first>"],
    ["Ports", spec.ports.map(({ name, port, protocol }) => `${name === undefined ? "" : `${name}  `}${port}/${protocol}`)],
    ["Weight", String(spec.weight)],
    ["Checks", spec.checks.map(checkText)],
    ["TTL", spec.ttl ?? "<none>"],
    ["Ready", workloadReadyText(workload)],
    ["Since", status.since ?? "<unknown>"],
    ["Reason", [status.reason, status.message].filter((text) => text !== undefined && text !== "").join(": ") || "<none>"],
    ["Services", services],
  ]);
}

export function describeEndpointSlice(slice: EndpointSlice): string {
  const head = fields([
    ...metadataFields(slice.metadata),
    ["Service", slice.metadata.labels?.[SERVICE_NAME_LABEL] ?? "<none>"],
    ["AddressType", slice.addressType],
    [
      "Ports",
      slice.ports.map(
        ({ name, port, protocol }) => `${name === undefined || name === "" ? "<unnamed>" : name}  ${port ?? "*"}/${protocol}`,
      ),
    ],
  ]);
  const endpoints = slice.endpoints.map(({ addresses, conditions, nodeName, weight, targetRef }) => [
    addresses.join(","),
    yesNo(conditions.ready ?? true),
    yesNo(conditions.serving ?? conditions.ready ?? true),
    yesNo(conditions.terminating ?? false),
    nodeName ?? "<none>",
    String(weight ?? 1),
    targetRef?.name ?? "<none>",
  ]);
  return head + section("Endpoints", ["ADDRESS", "READY", "SERVING", "TERMINATING", "NODE", "WEIGHT", "WORKLOAD"], endpoints);
}

export function yesNo(fact: boolean): string {
  return fact ? "yes" : "no";
}

function checkText({ http, tcp, exec, interval, timeout, rise, fall }: Workload["spec"]["checks"][number]): string {
  const what = http ? `http :${http.port}${http.path}` : tcp ? `tcp :${tcp.port}` : `exec ${(exec?.command ?? []).join(" ")}`;
  return `${what}  every ${interval}, timeout ${timeout}, rise ${rise}, fall ${fall}`;
}
