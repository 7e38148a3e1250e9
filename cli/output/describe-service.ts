import type { Endpoint, EndpointSlice } from "#proto/endpoint-slice.ts";
import { isKeptByBrake, isNodeReady, type Node } from "#proto/node.ts";
import { clusterIpsOf, isHeadless, type Service } from "#proto/service.ts";
import type { Workload } from "#proto/workload.ts";
import { workloadReadyText } from "#proto/columns.ts";
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
    ...optional("IP Family Policy", spec.ipFamilyPolicy),
    ["IP Families", spec.ipFamilies?.join(",") ?? "<none>"],
    ["IP", isHeadless(service) ? "None" : (clusterIpsOf(service)[0] ?? "<none>")],
    ["IPs", clusterIpsOf(service).join(",") || (isHeadless(service) ? "None" : "<none>")],
    ...optional("External IPs", spec.externalIPs?.join(",")),
    ...optional("Desired LoadBalancer IP", spec.loadBalancerIP),
    ...(spec.type === "LoadBalancer" ? [["LoadBalancer Ingress", ingressText(service)] as const] : []),
    ...optional("External Name", spec.externalName),
    ...spec.ports.flatMap((port) => portFields(port, slices)),
    ["Session Affinity", affinityText(service)],
    ...optional("External Traffic Policy", spec.externalTrafficPolicy),
    ["Internal Traffic Policy", spec.internalTrafficPolicy],
    ...optional("Traffic Distribution", spec.trafficDistribution),
    ...optional("HealthCheck NodePort", spec.healthCheckNodePort?.toString()),
    ...optional("LoadBalancer Source Ranges", spec.loadBalancerSourceRanges?.join(",")),
  ]);
  const lines = remarks(facts).map((text) => `  ${text}\n`);
  return head + endpointTable(facts) + lines.join("");
}

/** Weights are shown where one is not the usual. */
function endpointTable(facts: ServiceFacts): string {
  const endpoints = facts.slices.flatMap((slice) => slice.endpoints);
  const isWeighted = endpoints.some(({ weight = 1 }) => weight !== 1);
  const rows = endpoints.map((endpoint) => [
    endpoint.addresses.join(","),
    yesNo(endpoint.conditions.ready ?? true),
    yesNo(endpoint.conditions.serving ?? endpoint.conditions.ready ?? true),
    yesNo(endpoint.conditions.terminating ?? false),
    ...(isWeighted ? [String(endpoint.weight ?? 1)] : []),
    endpoint.nodeName ?? "<none>",
    endpoint.targetRef?.name ?? "<none>",
    whyNot(endpoint, facts),
  ]);
  const columns = ["ADDRESS", "READY", "SERVING", "TERMINATING", ...(isWeighted ? ["WEIGHT"] : []), "NODE", "WORKLOAD", "WHY"];
  return section("Endpoint conditions", columns, rows);
}

function optional(name: string, text: string | undefined): Field[] {
  return text === undefined || text === "" ? [] : [[name, text]];
}

/** `192.0.2.7 (VIP)`, as kubectl shows it. */
function ingressText({ status }: Service): string {
  const entries = (status.loadBalancer.ingress ?? []).map(({ ip, hostname, ipMode }) =>
    ip === undefined ? (hostname ?? "") : `${ip}${ipMode === undefined ? "" : ` (${ipMode})`}`,
  );
  return entries.join(", ") || "<pending>";
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
function whyNot({ conditions, nodeName, targetRef, weight }: Endpoint, { workloads, nodes }: ServiceFacts): string {
  const node = nodes.get(nodeName ?? "");
  const silent = node && isKeptByBrake(node) ? [`node ${node.metadata.name} silent, kept by the mass-failure brake`] : [];
  const weightless = weight === 0 ? ["its weight is 0"] : [];
  if (conditions.ready !== false && conditions.terminating !== true) return [...weightless, ...silent].join("; ");
  const workload = targetRef?.kind === "Workload" || targetRef?.kind === undefined ? workloads.get(targetRef?.name ?? "") : undefined;
  const drained = node?.spec.unschedulable === true;
  const leaving = workload ? workload.metadata.deletionTimestamp !== undefined : conditions.terminating === true && !drained;
  const reasons: string[] = [];
  if (leaving) reasons.push("is being removed, drains");
  if (workload?.spec.drain === true) reasons.push("workload is drained");
  if (workload?.status.ready === false)
    reasons.push(
      [workload.status.reason, workload.status.message].filter((text) => text !== undefined && text !== "").join(": ") || "check failed",
    );
  else if (workload && workloadReadyText(workload).startsWith("Unknown")) reasons.push("not checked yet");
  if (silent.length > 0) reasons.push(...silent);
  else if (node && !isNodeReady(node)) reasons.push(`node ${node.metadata.name} is not ready`);
  if (node && drained) reasons.push(`node ${node.metadata.name} is drained`);
  return reasons.join("; ");
}

/** What the rows do not say: why there are none, or none for a port, or none that is ready. */
function remarks(facts: ServiceFacts): string[] {
  const { service, slices, workloads } = facts;
  const { metadata, spec } = service;
  if (spec.type === "ExternalName") return [];
  const endpoints = slices.flatMap((slice) => slice.endpoints);
  const selector = pairs(spec.selector);
  if (selector.length === 0 && endpoints.length === 0)
    return ["The service has no selector: it serves what EndpointSlices made by hand say, and there are none."];
  if (selector.length > 0 && workloads.size === 0 && endpoints.length === 0)
    return [`No workload in namespace ${metadata.namespace ?? "default"} has the labels ${selector.join(",")}.`];
  const missing = missingPorts(facts);
  if (endpoints.length === 0)
    return missing.length > 0 ? missing : [`${matching(workloads.size)}, but none has an address of the service's IP families.`];
  const ready = endpoints.filter(({ conditions }) => conditions.ready !== false);
  if (ready.length > 0 && ready.every(({ weight }) => weight === 0)) return [...missing, "All endpoints that are ready have the weight 0."];
  if (ready.length > 0) return missing;
  const reasons = new Set(endpoints.map((endpoint) => whyNot(endpoint, facts)).filter((text) => text !== ""));
  const why = reasons.size === 0 ? "" : `: ${[...reasons].slice(0, 3).join(" · ")}${reasons.size > 3 ? " · …" : ""}`;
  return [...missing, `No endpoint is ready${why}.`];
}

/** For each named target that workloads do not have: it is most often misspelt, or only some of them give it a name. */
function missingPorts({ service, workloads }: ServiceFacts): string[] {
  return service.spec.ports.flatMap(({ targetPort, protocol }) => {
    const target = { targetPort, protocol };
    const without = [...workloads.values()].filter((workload) => lacksTarget(workload, target));
    if (without.length === 0) return [];
    const what = `${protocol} port named ${targetPort ?? ""}`;
    const have = portNames(without, protocol);
    if (without.length === workloads.size) return [`${matching(workloads.size)}, but none has a ${what} (${have}).`];
    const names = without.slice(0, 5).map(({ metadata }) => metadata.name);
    const more = without.length > names.length ? ", …" : "";
    return [`${without.length} of ${workloads.size} workloads are no endpoints of the ${what}: ${names.join(", ")}${more} (${have}).`];
  });
}

type Target = Pick<Service["spec"]["ports"][number], "targetPort" | "protocol">;

function lacksTarget({ spec }: Workload, { targetPort, protocol }: Target): boolean {
  return typeof targetPort === "string" && !spec.ports.some((port) => port.name === targetPort && port.protocol === protocol);
}

function portNames(workloads: readonly Workload[], protocol: string): string {
  const ports = workloads.flatMap(({ spec }) => spec.ports);
  const names = new Set(ports.map(({ name, port, protocol: own }) => `${name ?? port}${own === protocol ? "" : `/${own}`}`));
  return names.size === 0 ? "they have no ports" : `they have: ${[...names].slice(0, 10).join(", ")}`;
}

/** Why a workload that a service selects is no endpoint of it; undefined where its ports are not the reason. */
export function whyNoEndpoint({ spec }: Service, workload: Workload): string | undefined {
  const missing = spec.ports.filter((port) => lacksTarget(workload, port));
  if (missing.length === 0 || missing.length < spec.ports.length) return undefined;
  const have = portNames([workload], missing[0]?.protocol ?? "TCP").replace("they have", "it has");
  return `no port named ${missing.map(({ targetPort }) => targetPort).join(", ")} (${have})`;
}

function matching(count: number): string {
  return count === 1 ? "1 workload matches" : `${count} workloads match`;
}
