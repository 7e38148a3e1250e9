import { z } from "zod";
import { API_VERSION_TEXT, DnsSubdomain, KIND_TEXT, metaWith } from "./meta.ts";
import { keptOnly } from "./kept-only.ts";
import { endpointAddressFault, formatCidr, parseCidr } from "./ip.ts";

/** Node, core/v1: a host that runs an agent. */

/** Where a host stands: trafficDistribution and the DNS order same-zone-first go by it. Set by the administrator. */
export const ZONE_LABEL = "topology.kubernetes.io/zone";
/** The name of the host itself. Set by the server. */
export const HOSTNAME_LABEL = "kubernetes.io/hostname";

/** Set by an agent on its own Node (--docker-routed): those of spec.podCIDRs that all other hosts send to through this one, with commas between. */
export const ROUTED_CIDRS_ANNOTATION = "fairlead.dev/routed-cidrs";

export const NodeAddress = z.looseObject({
  type: z
    .enum(["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"])
    .describe("InternalIP: at which the other hosts reach it. The others are shown, not acted on."),
  address: z.string().min(1).max(253).describe("The address or name."),
});

export const NodeCondition = z.looseObject({
  type: z.string().describe("What it is about, one CamelCase word. Ready is the server's to say, from the host's heartbeats."),
  status: z.enum(["True", "False", "Unknown"]).describe("True, False or Unknown."),
  reason: z.string().optional().describe("Why, one CamelCase word for programs."),
  message: z.string().optional().describe("Why, for people."),
  lastTransitionTime: z.string().optional().describe("When the status last changed, RFC 3339."),
  lastHeartbeatTime: z.string().optional().describe("When the host was last heard of, RFC 3339. Kept, not acted on."),
});
export type NodeCondition = z.output<typeof NodeCondition>;

const Taint = z.looseObject({
  key: z.string().optional().describe("Kept, not acted on."),
  value: z.string().optional().describe("Kept, not acted on."),
  effect: z.string().optional().describe("Kept, not acted on."),
  timeAdded: z.string().optional().describe("Kept, not acted on."),
});

export const Node = z
  .looseObject({
    apiVersion: z.literal("v1").describe(API_VERSION_TEXT),
    kind: z.literal("Node").describe(KIND_TEXT),
    metadata: metaWith(DnsSubdomain),
    spec: z
      .looseObject({
        podCIDRs: z
          .array(z.string().refine((text) => parseCidr(text) !== undefined, "must be a prefix like 10.200.1.0/24"))
          .max(64)
          .optional()
          .describe(
            "Prefixes behind this host (container bridges), host bits zero; its workloads may have addresses in them. 64 at most. Other hosts get routes to those that stand in the annotation fairlead.dev/routed-cidrs too.",
          ),
        podCIDR: z
          .string()
          .refine((text) => text === "" || parseCidr(text) !== undefined, "must be a prefix like 10.200.1.0/24")
          .optional()
          .describe("Kubernetes' older field: the first of podCIDRs, which the server fills in; alone, it is the only one."),
        providerID: keptOnly(z.string().optional(), { is: "What the host is to its provider." }),
        taints: keptOnly(z.array(Taint).optional(), {
          is: "Kubernetes' marks for schedulers.",
          so: "to drain a host, set spec.unschedulable",
        }),
        unschedulable: z
          .boolean()
          .optional()
          .describe("True drains the host: its workloads get no new connections while there are others. Default: false."),
      })
      .default({})
      .describe("What is wished for."),
    status: z
      .looseObject({
        addresses: z
          .array(NodeAddress)
          .max(64)
          .default([])
          .superRefine((addresses, context) => {
            for (const [i, { type, address }] of addresses.entries()) {
              const fault = type === "InternalIP" || type === "ExternalIP" ? endpointAddressFault(address) : undefined;
              if (fault !== undefined) context.addIssue({ code: "custom", path: [i, "address"], message: fault });
            }
          })
          .describe("Its addresses, as its agent tells them; 64 at most."),
        conditions: z.array(NodeCondition).max(64).default([]).describe("How it is; 64 at most."),
        nodeInfo: z
          .looseObject({
            machineID: z.string().optional().describe("The content of /etc/machine-id."),
            kernelVersion: z.string().optional().describe("The version of its kernel."),
            osImage: z.string().optional().describe("The name of its operating system."),
            kubeletVersion: z.string().optional().describe("The version of its agent; the name of the field is Kubernetes'."),
            kubeProxyVersion: z.string().optional().describe("The version of its agent too."),
            architecture: z.string().optional().describe("Its processors' architecture."),
          })
          .optional()
          .describe("What its agent tells of it."),
      })
      .default({ addresses: [], conditions: [] })
      .describe("What is so; written at the path /status, mostly by its agent and the server."),
  })
  .describe("A host of the fleet, which runs an agent.");
export type Node = z.output<typeof Node>;
export type NodeInput = z.input<typeof Node>;

export function internalIpsOf(node: Node): readonly string[] {
  return node.status.addresses.filter(({ type }) => type === "InternalIP").map(({ address }) => address);
}

/** The prefixes behind a host that others send to through it; what stands in the annotation alone, and is no prefix of the host's, is none. Canonical. */
export function routedCidrsOf({ metadata, spec }: Pick<Node, "metadata" | "spec">): readonly string[] {
  const text = metadata.annotations?.[ROUTED_CIDRS_ANNOTATION];
  if (text === undefined) return [];
  const behind = new Set((spec.podCIDRs ?? []).map(canonicalCidr));
  return routedTexts(text)
    .flatMap((one) => canonicalCidr(one) ?? [])
    .filter((cidr) => behind.has(cidr));
}

/** What stands between the commas of the annotation. */
export function routedTexts(annotation: string): readonly string[] {
  return annotation
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function canonicalCidr(text: string): string | undefined {
  const cidr = parseCidr(text);
  return cidr && formatCidr(cidr);
}

/** Condition, True while services have addresses that the host says are its own: these are left out of its addresses. */
export const ADDRESS_CONFLICT = "AddressConflict";

/** The reason of a silent node's Ready condition while its endpoints are kept, because too many fell silent at once. */
export const MASS_FAILURE_BRAKE = "MassFailureBrake";

export function isKeptByBrake(node: Node): boolean {
  return node.status.conditions.some(({ type, status, reason }) => type === "Ready" && status !== "True" && reason === MASS_FAILURE_BRAKE);
}

export function isNodeReady(node: Node): boolean {
  return node.status.conditions.some(({ type, status }) => type === "Ready" && status === "True");
}
