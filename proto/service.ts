import { z } from "zod";
import {
  API_VERSION_TEXT,
  Condition,
  DnsLabel,
  DnsSubdomain,
  KIND_TEXT,
  Labels,
  metaWith,
  PortName,
  PortNumber,
  Protocol,
  QualifiedName,
  Rfc1035Label,
} from "./meta.ts";
import { keptOnly } from "./kept-only.ts";
import { formatCidr, formatIp, lenientCidr, parseIp } from "./ip.ts";
import { HEADLESS } from "./service-rules.ts";

/** Service, core/v1. Fields and defaults: Kubernetes API reference "Service v1 core". */

export { HEADLESS } from "./service-rules.ts";
export const DEFAULT_AFFINITY_SECONDS = 10_800;
const AFFINITY_RANGE = "must be greater than 0 and less than 86400";

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

/** Kubernetes' own: names a proxy of the user's that serves this service; hosts leave its addresses alone, whatever the name. */
export const PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name";

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
  name: DnsLabel.optional().describe(
    "The name of the port, as in DNS' SRV records. Needed, and different, where a service has several ports.",
  ),
  protocol: Protocol.default("TCP").describe("TCP, UDP or SCTP. Default: TCP."),
  appProtocol: keptOnly(QualifiedName.optional(), {
    is: "What is spoken over the port, as http or example.com/x.",
    so: "it is told in EndpointSlices, and hosts forward all protocols alike",
  }),
  port: PortNumber.describe("The port at the service's own addresses, 1 to 65535."),
  targetPort: z
    .union([PortNumber, PortName], { error: "must be a port number from 1 to 65535, or the name of a port of the workload" })
    .optional()
    .describe("The port of the workloads: a number, or the name of one of their ports. Default: the same number as port."),
  nodePort: PortNumber.optional().describe(
    "The port at every host's own addresses, for the types NodePort and LoadBalancer. Default: the server chooses a free one of its range, and keeps it.",
  ),
});
export type ServicePort = z.output<typeof ServicePort>;

export const ServiceSpec = z.looseObject({
  type: z
    .enum(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])
    .default("ClusterIP")
    .describe(
      "How it is reached: at a virtual address (ClusterIP), also at a port of every host (NodePort), also at an address from outside (LoadBalancer), or as another name in DNS alone (ExternalName). Default: ClusterIP.",
    ),
  selector: Labels.optional().describe(
    "The labels of the Workloads that it leads to. Absent: its endpoints are EndpointSlices that somebody else writes. Not acted on for ExternalName.",
  ),
  ports: z
    .array(ServicePort)
    .max(100)
    .default([])
    .describe("Its ports, at least one unless it is headless or of type ExternalName; 100 at most."),
  clusterIP: ClusterIp.optional().describe(
    "The first virtual address, the same as clusterIPs[0]. Default: the server chooses. None: a headless service, whose name leads to the endpoints themselves. Cannot be changed while the service has one.",
  ),
  clusterIPs: z
    .array(ClusterIp)
    .max(2, "may only hold up to 2 values")
    .optional()
    .describe("The virtual addresses, one of each IP family of ipFamilies, in that order; or None. The first cannot be changed."),
  ipFamilies: z
    .array(z.enum(["IPv4", "IPv6"]))
    .max(2)
    .optional()
    .describe(
      "IPv4, IPv6 or both, the first one first. Default: as the virtual ranges of the server and ipFamilyPolicy say. The first cannot be changed.",
    ),
  ipFamilyPolicy: z
    .enum(["SingleStack", "PreferDualStack", "RequireDualStack"])
    .optional()
    .describe(
      "One family, both where the server has ranges of both, or both or nothing. Default: SingleStack, unless two families or addresses are asked for.",
    ),
  externalIPs: z
    .array(IpText)
    .max(64)
    .optional()
    .describe(
      "Further addresses at which hosts answer for this service's ports when traffic comes to them; somebody else must route it there. Not of hosts, not virtual ones.",
    ),
  externalName: ExternalName.optional().describe(
    "The DNS name that the service's own name stands for (CNAME). Only, and always, for the type ExternalName.",
  ),
  sessionAffinity: z
    .enum(["None", "ClientIP"])
    .default("None")
    .describe("ClientIP: connections from one client address go to the same endpoint. Default: None."),
  /** Goes, as in Kubernetes, where the affinity does. */
  sessionAffinityConfig: z
    .looseObject({
      clientIP: z
        .looseObject({
          timeoutSeconds: z
            .int()
            .min(1, AFFINITY_RANGE)
            .max(86_400, AFFINITY_RANGE)
            .default(DEFAULT_AFFINITY_SECONDS)
            .describe(
              "For how long after its last connection a client keeps its endpoint, in seconds, 1 to 86400. Default: 10800 (3 hours).",
            ),
        })
        .optional()
        .describe("Of the affinity ClientIP."),
    })
    .optional()
    .describe("How sessionAffinity holds; dropped where that is None."),
  internalTrafficPolicy: z
    .enum(["Cluster", "Local"])
    .default("Cluster")
    .describe(
      "Where traffic to the virtual addresses may go: to all endpoints, or (Local) only to those on the sender's own host. Default: Cluster.",
    ),
  externalTrafficPolicy: z
    .enum(["Cluster", "Local"])
    .optional()
    .describe(
      "Where traffic to node ports, external and load balancer addresses may go: to all endpoints, or (Local) only to those on the host where it arrived, with the client's address kept. Default: Cluster. Only for services that are reached from outside.",
    ),
  healthCheckNodePort: PortNumber.optional().describe(
    "The port of every host that tells load balancers by HTTP whether it has endpoints. Only for the type LoadBalancer with externalTrafficPolicy Local. Default: the server chooses. Cannot be changed.",
  ),
  publishNotReadyAddresses: z
    .boolean()
    .optional()
    .describe("Whether endpoints count as ready also while they are not, as peers need that find each other by DNS. Default: false."),
  loadBalancerIP: z
    .union([z.literal(""), IpText], { error: "must be an IPv4 or IPv6 address" })
    .optional()
    .describe(
      "The address wanted of the type LoadBalancer. Two families: the annotation fairlead.dev/load-balancer-ips. Default: the server's --load-balancer-cidr gives one.",
    ),
  loadBalancerSourceRanges: z
    .array(SourceRange)
    .optional()
    .describe(
      "From which client addresses (prefixes like 10.0.0.0/8) the load balancer's addresses take traffic; hosts drop all other. Default: from everywhere. Only for the type LoadBalancer.",
    ),
  loadBalancerClass: keptOnly(QualifiedName.optional(), {
    is: "Whose load balancer it is to be. Only for the type LoadBalancer, and cannot be changed.",
    so: "every class is served alike",
  }),
  allocateLoadBalancerNodePorts: z
    .boolean()
    .optional()
    .describe("Whether the server chooses node ports for the type LoadBalancer. Default: true. Set to false, ports that are there stay."),
  trafficDistribution: z
    .enum(["PreferClose", "PreferSameZone", "PreferSameNode"])
    .optional()
    .describe(
      "Which endpoints are preferred while there are ready ones: in the sender's zone (PreferClose means the same) or on its host. Default: all alike.",
    ),
});
export type ServiceSpec = z.output<typeof ServiceSpec>;

const PortStatus = z.looseObject({
  port: z.int().optional().describe("The port of the service."),
  protocol: z.string().optional().describe("TCP, UDP or SCTP."),
  error: z.string().optional().describe("Why the load balancer does not serve the port."),
});

export const LoadBalancerIngress = z.looseObject({
  ip: IpText.optional().describe("An address of the load balancer."),
  hostname: z.string().optional().describe("A name of the load balancer, where it has no fixed address. Shown, not acted on."),
  ipMode: z
    .enum(["VIP", "Proxy"])
    .optional()
    .describe("VIP: hosts answer at the address themselves. Proxy: somebody else does, and connects to the node ports. Default: VIP."),
  ports: z.array(PortStatus).optional().describe("What the load balancer says of single ports. Kept, not acted on."),
});
export type LoadBalancerIngress = z.output<typeof LoadBalancerIngress>;

export const ServiceStatus = z.looseObject({
  loadBalancer: z
    .looseObject({ ingress: z.array(LoadBalancerIngress).max(64).optional().describe("Its addresses; 64 at most.") })
    .default({})
    .describe("At which addresses the type LoadBalancer is reached. The server fills it in; an administrator may set it."),
  conditions: z.array(Condition).optional().describe("What tools found of the service. Kept, not acted on."),
});

export const Service = z
  .looseObject({
    apiVersion: z.literal("v1").describe(API_VERSION_TEXT),
    kind: z.literal("Service").describe(KIND_TEXT),
    metadata: metaWith(Rfc1035Label),
    spec: ServiceSpec.describe("What is wished for."),
    status: ServiceStatus.default({ loadBalancer: {} }).describe("What is so; written at the path /status."),
  })
  .describe("A name and virtual addresses that lead to the Workloads with certain labels, on every host of the fleet.");
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
