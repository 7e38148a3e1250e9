import { z } from "zod";
import { DnsLabel, DnsSubdomain, metaWith, PortNumber, Protocol } from "./meta.ts";
import { endpointAddressFault, parseIp } from "./ip.ts";

/** EndpointSlice, discovery.k8s.io/v1. */

/** Label that names the Service of a slice. */
export const SERVICE_NAME_LABEL = "kubernetes.io/service-name";
/** Label that names who keeps a slice; slices of other keepers are never touched by our controller. */
export const MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by";
export const MANAGED_BY_US = "endpoints.fairlead.dev";
export const MAX_ENDPOINTS_PER_SLICE = 100;

const EndpointAddress = z.string().superRefine((text, context) => {
  const fault = endpointAddressFault(text);
  if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
});

export const Endpoint = z.looseObject({
  /** Interchangeable addresses of one endpoint; only the first is used. */
  addresses: z.array(EndpointAddress).min(1).max(100),
  /** nil ready and serving mean true, nil terminating means false. */
  conditions: z
    .looseObject({ ready: z.boolean().optional(), serving: z.boolean().optional(), terminating: z.boolean().optional() })
    .default({}),
  hostname: DnsLabel.optional(),
  nodeName: DnsSubdomain.optional(),
  zone: z.string().optional(),
  /** Ours: share of new connections relative to the others; Kubernetes' clients ignore it. */
  weight: z.int().min(0).max(65_535).optional(),
  targetRef: z
    .looseObject({ kind: z.string().optional(), namespace: z.string().optional(), name: z.string().optional(), uid: z.string().optional() })
    .optional(),
  hints: z
    .looseObject({
      forZones: z.array(z.looseObject({ name: z.string() })).optional(),
      forNodes: z.array(z.looseObject({ name: z.string() })).optional(),
    })
    .optional(),
});
export type Endpoint = z.output<typeof Endpoint>;

export const EndpointPort = z.looseObject({
  /** The name of the Service's port that it belongs to; "" or absent for the only, unnamed one. */
  name: z.union([z.literal(""), DnsLabel]).optional(),
  protocol: Protocol.default("TCP"),
  port: PortNumber.optional(),
  appProtocol: z.string().optional(),
});
export type EndpointPort = z.output<typeof EndpointPort>;

export const EndpointSlice = z
  .looseObject({
    apiVersion: z.literal("discovery.k8s.io/v1"),
    kind: z.literal("EndpointSlice"),
    metadata: metaWith(DnsSubdomain),
    addressType: z.enum(["IPv4", "IPv6"]),
    endpoints: z
      .array(Endpoint)
      .max(1000)
      .nullable()
      .default([])
      .transform((endpoints) => endpoints ?? []),
    ports: z
      .array(EndpointPort)
      .max(100)
      .nullable()
      .default([])
      .transform((ports) => ports ?? []),
  })
  .superRefine((slice, context) => {
    for (const [i, endpoint] of slice.endpoints.entries())
      for (const [j, address] of endpoint.addresses.entries())
        if (parseIp(address)?.family !== slice.addressType)
          context.addIssue({
            code: "custom",
            path: ["endpoints", i, "addresses", j],
            message: `must be an ${slice.addressType} address, as addressType says`,
          });
    const names = new Set<string>();
    for (const [i, { name = "" }] of slice.ports.entries()) {
      if (names.has(name))
        context.addIssue({
          code: "custom",
          path: ["ports", i, "name"],
          message: "two ports may not have the same name",
          params: { reason: "FieldValueDuplicate" },
        });
      names.add(name);
    }
  });
export type EndpointSlice = z.output<typeof EndpointSlice>;
export type EndpointSliceInput = z.input<typeof EndpointSlice>;

/** The key `namespace/name` of the Service that a slice belongs to, or undefined for a slice without the label. */
export function serviceKeyOf(slice: EndpointSlice): string | undefined {
  const service = slice.metadata.labels?.[SERVICE_NAME_LABEL];
  return service === undefined ? undefined : `${slice.metadata.namespace ?? "default"}/${service}`;
}
