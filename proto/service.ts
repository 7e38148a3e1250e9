import { z } from "zod";
import { DnsLabel, DnsSubdomain, Labels, metaWith, PortName, PortNumber, Protocol, QualifiedName, Rfc1035Label } from "./meta.ts";
import { formatCidr, formatIp, lenientCidr, parseIp } from "./ip.ts";

/** Service, core/v1. Fields and defaults: Kubernetes API reference "Service v1 core". */

export const HEADLESS = "None";
export const DEFAULT_AFFINITY_SECONDS = 10_800;

/** Ours: how IPVS chooses among the endpoints, one of IPVS_SCHEDULERS. The other data planes draw at random by weight. */
export const SCHEDULER_ANNOTATION = "fairlead.dev/scheduler";
export const IPVS_SCHEDULERS = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf"] as const;
/** Ours: what spec.loadBalancerIP says, for two families: addresses with a comma between. */
export const LOAD_BALANCER_IPS_ANNOTATION = "fairlead.dev/load-balancer-ips";
/** Ours: which address of a headless service a client gets first: any, more often those of more weight, or those in the asking host's zone. */
export const DNS_ORDER_ANNOTATION = "fairlead.dev/dns-order";
export const DNS_ORDERS = ["random", "weighted", "same-zone-first"] as const;
/** Kubernetes' own, from before spec.loadBalancerSourceRanges. The server fills that field from it. */
export const SOURCE_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges";

const IpText = z.string().refine((text) => parseIp(text) !== undefined, "must be a valid IPv4 or IPv6 address without leading zeros");
const ClusterIp = z.union([z.literal(HEADLESS), z.literal(""), IpText], { error: "must be an IPv4 or IPv6 address, or None" });

/** Kubernetes takes a fully qualified name, with the dot at its end, too. */
const ExternalName = z.string().superRefine((text, context) => {
  const { error } = DnsSubdomain.safeParse(withoutRootDot(text));
  for (const { message } of error?.issues ?? []) context.addIssue({ code: "custom", message });
});

export function withoutRootDot(name: string): string {
  return name.endsWith(".") ? name.slice(0, -1) : name;
}

/** As Kubernetes takes it, with white space around and bits after the prefix; kept in the one form that everybody reads alike. */
const SourceRange = z.string().transform((text, context) => {
  const cidr = lenientCidr(text);
  if (cidr) return formatCidr(cidr);
  context.addIssue({ code: "custom", message: "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)" });
  return z.NEVER;
});

export const ServicePort = z.looseObject({
  name: DnsLabel.optional(),
  protocol: Protocol.default("TCP"),
  appProtocol: z.string().optional(),
  port: PortNumber,
  /** Absent = the same as `port`. */
  targetPort: z
    .union([PortNumber, PortName], { error: "must be a port number from 1 to 65535, or the name of a port of the workload" })
    .optional(),
  /** Absent = the server allocates one, for NodePort and LoadBalancer. */
  nodePort: PortNumber.optional(),
});
export type ServicePort = z.output<typeof ServicePort>;

export const ServiceSpec = z
  .looseObject({
    type: z.enum(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]).default("ClusterIP"),
    selector: Labels.optional(),
    ports: z.array(ServicePort).max(100).default([]),
    clusterIP: ClusterIp.optional(),
    clusterIPs: z.array(ClusterIp).max(2).optional(),
    ipFamilies: z
      .array(z.enum(["IPv4", "IPv6"]))
      .max(2)
      .optional(),
    ipFamilyPolicy: z.enum(["SingleStack", "PreferDualStack", "RequireDualStack"]).optional(),
    externalIPs: z.array(IpText).max(64).optional(),
    externalName: ExternalName.optional(),
    sessionAffinity: z.enum(["None", "ClientIP"]).default("None"),
    /** Goes, as in Kubernetes, where the affinity does. */
    sessionAffinityConfig: z
      .looseObject({
        clientIP: z
          .looseObject({
            timeoutSeconds: z
              .int()
              .min(1, "must be between 1 and 86400")
              .max(86_400, "must be between 1 and 86400")
              .default(DEFAULT_AFFINITY_SECONDS),
          })
          .optional(),
      })
      .optional(),
    internalTrafficPolicy: z.enum(["Cluster", "Local"]).default("Cluster"),
    externalTrafficPolicy: z.enum(["Cluster", "Local"]).optional(),
    healthCheckNodePort: PortNumber.optional(),
    publishNotReadyAddresses: z.boolean().optional(),
    loadBalancerIP: z.union([z.literal(""), IpText], { error: "must be an IPv4 or IPv6 address" }).optional(),
    loadBalancerSourceRanges: z.array(SourceRange).optional(),
    loadBalancerClass: QualifiedName.optional(),
    allocateLoadBalancerNodePorts: z.boolean().optional(),
    trafficDistribution: z.enum(["PreferClose", "PreferSameZone", "PreferSameNode"]).optional(),
  })
  .superRefine(checkPorts)
  .superRefine(checkType);
export type ServiceSpec = z.output<typeof ServiceSpec>;

export const LoadBalancerIngress = z.looseObject({
  ip: IpText.optional(),
  hostname: z.string().optional(),
  /** VIP: hosts answer there (also when it is absent). Proxy: somebody else does, and connects to the node ports. */
  ipMode: z.enum(["VIP", "Proxy"]).optional(),
});
export type LoadBalancerIngress = z.output<typeof LoadBalancerIngress>;

export const ServiceStatus = z.looseObject({
  loadBalancer: z.looseObject({ ingress: z.array(LoadBalancerIngress).max(64).optional() }).default({}),
});

export const Service = z.looseObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Service"),
  metadata: metaWith(Rfc1035Label),
  spec: ServiceSpec,
  status: ServiceStatus.default({ loadBalancer: {} }),
});
export type Service = z.output<typeof Service>;
export type ServiceInput = z.input<typeof Service>;

export function isHeadless(service: Service): boolean {
  return service.spec.clusterIP === HEADLESS;
}

/** The virtual IPs; empty for headless and ExternalName services, and before allocation. */
export function clusterIpsOf(service: Service): readonly string[] {
  if (service.spec.type === "ExternalName") return [];
  const all = service.spec.clusterIPs ?? (service.spec.clusterIP === undefined ? [] : [service.spec.clusterIP]);
  return all.filter((ip) => ip !== HEADLESS && ip !== "");
}

/** The addresses of its load balancer at which hosts answer, in the canonical form. Entries of mode Proxy and names are somebody else's. */
export function loadBalancerIpsOf({ spec, status }: Service): string[] {
  if (spec.type !== "LoadBalancer") return [];
  return (status.loadBalancer.ingress ?? []).flatMap(({ ip, ipMode = "VIP" }) => {
    const parsed = ipMode === "VIP" ? parseIp(ip ?? "") : undefined;
    return parsed ? [formatIp(parsed)] : [];
  });
}

interface Draft {
  readonly type: string;
  readonly ports: readonly ServicePort[];
  readonly clusterIP?: string | undefined;
  readonly clusterIPs?: readonly string[] | undefined;
  readonly externalName?: string | undefined;
  readonly selector?: Labels | undefined;
}

function checkPorts(spec: Draft, context: z.RefinementCtx): void {
  const fault = (path: PropertyKey[], message: string, kind = "Invalid"): void => {
    context.addIssue({ code: "custom", path, message, params: { reason: `FieldValue${kind}` } });
  };
  if (spec.ports.length === 0 && spec.type !== "ExternalName" && spec.clusterIP !== HEADLESS)
    fault(["ports"], "must have at least one port", "Required");
  const names = new Set<string>();
  const numbers = new Set<string>();
  const nodePorts = new Set<string>();
  for (const [i, port] of spec.ports.entries()) {
    const name = port.name ?? "";
    if (name === "" && spec.ports.length > 1) fault(["ports", i, "name"], "is needed where a service has several ports", "Required");
    else if (names.has(name)) fault(["ports", i, "name"], `two ports may not have the same name`, "Duplicate");
    names.add(name);
    const number = `${port.port}/${port.protocol}`;
    if (numbers.has(number)) fault(["ports", i], `port ${number} stands there twice`, "Duplicate");
    numbers.add(number);
    if (port.nodePort === undefined) continue;
    const nodePort = `${port.nodePort}/${port.protocol}`;
    if (nodePorts.has(nodePort)) fault(["ports", i, "nodePort"], `node port ${nodePort} stands there twice`, "Duplicate");
    nodePorts.add(nodePort);
  }
}

function checkType(spec: Draft, context: z.RefinementCtx): void {
  const fault = (path: PropertyKey[], message: string, kind = "Invalid"): void => {
    context.addIssue({ code: "custom", path, message, params: { reason: `FieldValue${kind}` } });
  };
  if (spec.type === "ExternalName") {
    if (spec.externalName === undefined) fault(["externalName"], "is needed for the type ExternalName", "Required");
  }
  if (spec.clusterIP === HEADLESS && spec.type !== "ClusterIP" && spec.type !== "ExternalName")
    fault(["clusterIP"], `may not be None for the type ${spec.type}`);
  const first = spec.clusterIPs?.[0];
  if (first !== undefined && spec.clusterIP !== undefined && first !== spec.clusterIP)
    fault(["clusterIPs", 0], `must be the same as spec.clusterIP (${spec.clusterIP})`);
  const [a, b] = (spec.clusterIPs ?? []).map((text) => parseIp(text)?.family);
  if (a !== undefined && a === b) fault(["clusterIPs"], "must be of two different IP families where there are two");
}
