import { z } from "zod";
import { DnsSubdomain, metaWith } from "./meta.ts";
import { endpointAddressFault, parseCidr } from "./ip.ts";

/** Node, core/v1: a host that runs an agent. */

/** Where a host stands: trafficDistribution and the DNS order same-zone-first go by it. Set by the administrator. */
export const ZONE_LABEL = "topology.kubernetes.io/zone";
/** The name of the host itself. Set by the server. */
export const HOSTNAME_LABEL = "kubernetes.io/hostname";

export const NodeAddress = z.looseObject({
  type: z.enum(["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"]),
  address: z.string().min(1).max(253),
});

export const NodeCondition = z.looseObject({
  type: z.string(),
  status: z.enum(["True", "False", "Unknown"]),
  reason: z.string().optional(),
  message: z.string().optional(),
  lastTransitionTime: z.string().optional(),
});
export type NodeCondition = z.output<typeof NodeCondition>;

export const Node = z.looseObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Node"),
  metadata: metaWith(DnsSubdomain),
  spec: z
    .looseObject({
      /** Prefixes behind this host (container bridges): its workloads may have addresses in them. Host bits zero. */
      podCIDRs: z
        .array(z.string().refine((text) => parseCidr(text) !== undefined, "must be a prefix like 10.200.1.0/24"))
        .max(64)
        .optional(),
      /** True = drained: its workloads get no new connections while there are others. */
      unschedulable: z.boolean().optional(),
    })
    .default({}),
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
        }),
      conditions: z.array(NodeCondition).max(64).default([]),
      nodeInfo: z
        .looseObject({
          machineID: z.string(),
          kernelVersion: z.string(),
          osImage: z.string(),
          kubeletVersion: z.string(),
          kubeProxyVersion: z.string(),
          architecture: z.string(),
        })
        .partial()
        .optional(),
    })
    .default({ addresses: [], conditions: [] }),
});
export type Node = z.output<typeof Node>;
export type NodeInput = z.input<typeof Node>;

export function internalIpsOf(node: Node): readonly string[] {
  return node.status.addresses.filter(({ type }) => type === "InternalIP").map(({ address }) => address);
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
