import { z } from "zod";
import { ObjectReference } from "./event.ts";
import { API_VERSION_TEXT, DnsLabel, DnsSubdomain, KIND_TEXT, metaWith, PortNumber, Protocol } from "./meta.ts";
import { keptOnly } from "./kept-only.ts";
import { endpointAddressFault, parseIp } from "./ip.ts";
import type { RuleFault } from "./kinds.ts";
import { Reach } from "./workload.ts";

/** EndpointSlice, discovery.k8s.io/v1. */

/** Label that names the Service of a slice. */
export const SERVICE_NAME_LABEL = "kubernetes.io/service-name";
/** Label that names who keeps a slice; slices of other keepers are never touched by our controller. */
export const MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by";
/** Label on the slices of a headless service, as Kubernetes sets it. */
export const HEADLESS_LABEL = "service.kubernetes.io/headless";
export const MANAGED_BY_US = "endpoints.fairlead.dev";
/** Label on slices whose endpoints not all hosts can reach: `Node`, only the endpoint's own (nodeName); `OtherNodes`, all but that. */
export const REACH_LABEL = "fairlead.dev/reach";
export const MAX_ENDPOINTS_PER_SLICE = 100;

const EndpointAddress = z.string().superRefine((text, context) => {
  const fault = endpointAddressFault(text);
  if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
});

export const Endpoint = z.looseObject({
  addresses: z
    .array(EndpointAddress)
    .min(1)
    .max(100)
    .describe("Interchangeable addresses of one endpoint, 1 to 100; only the first is used."),
  conditions: z
    .looseObject({
      ready: z.boolean().optional().describe("Whether it takes new connections. Default: true."),
      serving: z.boolean().optional().describe("Whether it answers, also while it terminates. Default: as ready."),
      terminating: z
        .boolean()
        .optional()
        .describe("Whether it is about to go; used for new connections only where no other is ready. Default: false."),
    })
    .default({})
    .describe("How it is."),
  hostname: DnsLabel.optional().describe("Its own name in DNS under that of the service: HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN."),
  nodeName: DnsSubdomain.optional().describe("The Node that it is on; needed by the policy Local."),
  zone: z.string().optional().describe("The zone that it is in."),
  weight: z
    .int()
    .min(0)
    .max(65_535)
    .optional()
    .describe(
      "Its share of new connections relative to the others, 0 to 65535; 0 takes none. Ours; Kubernetes' clients ignore it. Default: 1.",
    ),
  targetRef: ObjectReference.optional().describe("The Workload that it is."),
  hints: z
    .looseObject({
      forZones: z
        .array(z.looseObject({ name: z.string().describe("The name of the zone.") }))
        .optional()
        .describe("The zones whose senders should prefer it."),
      forNodes: z
        .array(z.looseObject({ name: z.string().describe("The name of the Node.") }))
        .optional()
        .describe("The Nodes whose senders should prefer it."),
    })
    .optional()
    .describe("Who should prefer it."),
  deprecatedTopology: keptOnly(z.record(z.string(), z.string()).optional(), {
    is: "Kubernetes' own, of former times.",
    so: "an endpoint's place stands in nodeName and zone",
  }),
});
export type Endpoint = z.output<typeof Endpoint>;

export const EndpointPort = z.looseObject({
  name: z
    .union([z.literal(""), DnsLabel])
    .optional()
    .describe("The name of the Service's port that it belongs to; empty or absent for the only, unnamed one."),
  protocol: Protocol.default("TCP").describe("TCP, UDP or SCTP. Default: TCP."),
  port: PortNumber.optional().describe("The port of the endpoints, 1 to 65535."),
  appProtocol: keptOnly(z.string().optional(), { is: "What is spoken over the port.", so: "hosts forward all protocols alike" }),
});
export type EndpointPort = z.output<typeof EndpointPort>;

export const EndpointSlice = z
  .looseObject({
    apiVersion: z.literal("discovery.k8s.io/v1").describe(API_VERSION_TEXT),
    kind: z.literal("EndpointSlice").describe(KIND_TEXT),
    metadata: metaWith(DnsSubdomain),
    addressType: z.enum(["IPv4", "IPv6"]).describe("The family of all its addresses: IPv4 or IPv6."),
    endpoints: z
      .array(Endpoint)
      .max(1000)
      .nullable()
      .default([])
      .transform((endpoints) => endpoints ?? [])
      .describe("The endpoints; 1000 at most."),
    ports: z
      .array(EndpointPort)
      .max(100)
      .nullable()
      .default([])
      .transform((ports) => ports ?? [])
      .describe("The ports that each of the endpoints has; 100 at most."),
  })
  .describe(
    "Endpoints of a service, which the label kubernetes.io/service-name names. Those of a selector are written by the server; for a service without one, write your own.",
  );
export type EndpointSlice = z.output<typeof EndpointSlice>;

export function checkSlice({ addressType, endpoints, ports }: EndpointSlice, fault: RuleFault): void {
  for (const [i, { addresses }] of endpoints.entries())
    for (const [j, address] of addresses.entries())
      if (parseIp(address)?.family !== addressType)
        fault(["endpoints", i, "addresses", j], `must be an ${addressType} address, as addressType says`);
  const names = new Set<string>();
  for (const [i, { name = "" }] of ports.entries()) {
    if (names.has(name)) fault(["ports", i, "name"], "two ports may not have the same name", "Duplicate");
    names.add(name);
  }
}
export type EndpointSliceInput = z.input<typeof EndpointSlice>;

/** The key `namespace/name` of the Service that a slice belongs to, or undefined for a slice without the label. */
export function serviceKeyOf(slice: EndpointSlice): string | undefined {
  const service = slice.metadata.labels?.[SERVICE_NAME_LABEL];
  return service === undefined ? undefined : `${slice.metadata.namespace ?? "default"}/${service}`;
}

export function reachOf({ metadata }: Pick<EndpointSlice, "metadata">): Reach {
  return Reach.safeParse(metadata.labels?.[REACH_LABEL]).data ?? "Fleet";
}

/** Those that a host can reach. */
export function endpointsFor(slice: Pick<EndpointSlice, "metadata" | "endpoints">, nodeName: string): Endpoint[] {
  const { endpoints } = slice;
  switch (reachOf(slice)) {
    case "Fleet":
      return endpoints;
    case "Node":
      return endpoints.filter((one) => one.nodeName === nodeName);
    case "OtherNodes":
      return endpoints.filter((one) => one.nodeName !== nodeName);
  }
}
