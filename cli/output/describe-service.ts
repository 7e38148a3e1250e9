import type { Endpoint, EndpointSlice } from "#proto/endpoint-slice.ts";
import { isNodeReady, type Node } from "#proto/node.ts";
import { clusterIpsOf, isHeadless, type Service } from "#proto/service.ts";
import type { Workload } from "#proto/workload.ts";
import { workloadReadyText } from "./columns.ts";
import { yesNo } from "./describe.ts";
import { fields, metadataFields, pairs, section, type Field } from "./describe-text.ts";

export interface ServiceFacts {
  readonly service: Service;
  readonly slices: readonly EndpointSlice[];
  /** By name, of the service's namespace. */
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly nodes: ReadonlyMap<string, Node>;
}

/** What `describe service` says, without the events: what kubectl says, and for each endpoint why it gets no connections. */
export function describeService(facts: ServiceFacts): string {
  const { service, slices } = facts;
  const { spec } = service;
  const head = fields([
    ...metadataFields(service.metadata),
    ["Selector", pairs(spec.selector)],
    ["Type", spec.type],
    ["IP Families", spec.ipFamilies?.join(",") ?? "<none>"],
    ["IP", isHeadless(service) ? "None" : (clusterIpsOf(service)[0] ?? "<none>")],
    ["IPs", clusterIpsOf(service).join(",") || (isHeadless(service) ? "None" : "<none>")],
    ...(spec.externalIPs ? [["External IPs", spec.externalIPs.join(",")] as const] : []),
    ...(spec.externalName === undefined ? [] : [["External Name", spec.externalName] as const]),
    ...spec.ports.flatMap((port) => portFields(port, slices)),
    ["Session Affinity", affinityText(service)],
    ...(spec.externalTrafficPolicy === undefined ? [] : [["External Traffic Policy", spec.externalTrafficPolicy] as const]),
    ["Internal Traffic Policy", spec.internalTrafficPolicy],
  ]);
  const endpoints = slices.flatMap((slice) => slice.endpoints);
  const rows = endpoints.map((endpoint) => [
    endpoint.addresses.join(","),
    yesNo(endpoint.conditions.ready ?? true),
    yesNo(endpoint.conditions.serving ?? endpoint.conditions.ready ?? true),
    yesNo(endpoint.conditions.terminating ?? false),
    endpoint.nodeName ?? "<none>",
    endpoint.targetRef?.name ?? "<none>",
    whyNot(endpoint, facts),
  ]);
  const table = section("Endpoint conditions", ["ADDRESS", "READY", "SERVING", "TERMINATING", "NODE", "WORKLOAD", "WHY"], rows);
  return rows.length > 0 ? head + table : `${head}${table}${whyEmpty(service)}`;
}

function portFields(port: Service["spec"]["ports"][number], slices: readonly EndpointSlice[]): Field[] {
  const name = port.name ?? "";
  const backends = slices.flatMap((slice) => {
    const target = slice.ports.find((one) => (one.name ?? "") === name);
    if (!target) return [];
    return slice.endpoints
      .filter(({ conditions }) => conditions.ready !== false)
      .map(({ addresses }) => joinHostPort(addresses[0] ?? "", target.port));
  });
  const shown = backends.slice(0, 3).join(",");
  return [
    ["Port", `${name === "" ? "<unset>" : name}  ${port.port}/${port.protocol}`],
    ["TargetPort", `${port.targetPort ?? port.port}/${port.protocol}`],
    ...(port.nodePort === undefined ? [] : [["NodePort", `${name === "" ? "<unset>" : name}  ${port.nodePort}/${port.protocol}`] as const]),
    ["Endpoints", backends.length > 3 ? `${shown} + ${backends.length - 3} more...` : shown],
  ];
}

function joinHostPort(address: string, port: number | undefined): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port ?? "*"}`;
}

function affinityText({ spec }: Service): string {
  const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds;
  return spec.sessionAffinity === "ClientIP" && seconds !== undefined ? `ClientIP (${seconds} s)` : spec.sessionAffinity;
}

/** Nearest cause first: the workload is leaving, was drained, or fails its checks; its host is silent or drained. */
function whyNot({ conditions, nodeName, targetRef }: Endpoint, { workloads, nodes }: ServiceFacts): string {
  if (conditions.ready !== false && conditions.terminating !== true) return "";
  const workload = targetRef?.kind === "Workload" || targetRef?.kind === undefined ? workloads.get(targetRef?.name ?? "") : undefined;
  const node = nodes.get(nodeName ?? "");
  const reasons: string[] = [];
  if (workload?.metadata.deletionTimestamp !== undefined || conditions.terminating === true) reasons.push("is being removed, drains");
  if (workload?.spec.drain === true) reasons.push("workload is drained");
  if (workload?.status.ready === false)
    reasons.push(
      [workload.status.reason, workload.status.message].filter((text) => text !== undefined && text !== "").join(": ") || "check failed",
    );
  else if (workload && workloadReadyText(workload).startsWith("Unknown")) reasons.push("not checked yet");
  if (node && !isNodeReady(node)) reasons.push(`node ${node.metadata.name} is not ready`);
  if (node?.spec.unschedulable === true) reasons.push(`node ${node.metadata.name} is drained`);
  return reasons.join("; ");
}

function whyEmpty({ metadata, spec }: Service): string {
  if (spec.type === "ExternalName") return "";
  return pairs(spec.selector).length === 0
    ? "  The service has no selector: it serves what EndpointSlices made by hand say, and there are none.\n"
    : `  No workload in namespace ${metadata.namespace ?? "default"} has the labels ${pairs(spec.selector).join(",")}.\n`;
}
