import { z } from "zod";
import { age } from "#proto/age.ts";
import type { Column } from "#proto/columns.ts";
import { HEADLESS_LABEL, reachOf, type Endpoint, type EndpointSlice } from "#proto/endpoint-slice.ts";
import { ObjectReference } from "#proto/event.ts";
import { API_VERSION_TEXT, KIND_TEXT, ObjectMeta, type Labels } from "#proto/meta.ts";
import { isHeadless, type Service } from "#proto/service.ts";
import type { DerivedKind, Form } from "../view.ts";

/**
 * What a Service leads to as the Endpoints (core/v1) that older clients read instead of EndpointSlices: made of its slices as Kubernetes' controller makes
 * it of Pods. Pure.
 */

const EndpointAddress = z.looseObject({
  ip: z.string().describe("The address."),
  hostname: z.string().optional().describe("Its own name in DNS under that of the service."),
  nodeName: z.string().optional().describe("The Node that it is on."),
  targetRef: ObjectReference.optional().describe("The Workload that it is."),
});
type EndpointAddress = z.output<typeof EndpointAddress>;

const EndpointPort = z.looseObject({
  name: z.string().optional().describe("The name of the Service's port that it belongs to."),
  port: z.int().describe("The port of the endpoints, 1 to 65535."),
  protocol: z.string().describe("TCP, UDP or SCTP."),
  appProtocol: z.string().optional().describe("What is spoken over the port. Kept, not acted on."),
});
type EndpointPort = z.output<typeof EndpointPort>;

const EndpointSubset = z.looseObject({
  addresses: z.array(EndpointAddress).optional().describe("Those that take new connections."),
  notReadyAddresses: z
    .array(EndpointAddress)
    .optional()
    .describe("Those that do not, because they fail their checks or their Node is lost."),
  ports: z.array(EndpointPort).optional().describe("The ports that each of the addresses has."),
});
type EndpointSubset = z.output<typeof EndpointSubset>;

export const Endpoints = z
  .looseObject({
    apiVersion: z.literal("v1").describe(API_VERSION_TEXT),
    kind: z.literal("Endpoints").describe(KIND_TEXT),
    metadata: ObjectMeta.describe("Name, namespace, age and labels are the Service's."),
    subsets: z.array(EndpointSubset).optional().describe("Addresses by the ports that they have; absent where there are none."),
  })
  .describe("The endpoints of a Service, to be read only: its EndpointSlices in the form of former times. 1000 addresses at most.");
export type Endpoints = z.output<typeof Endpoints>;

export const ENDPOINTS_KIND: DerivedKind = {
  kind: "Endpoints",
  group: "",
  version: "v1",
  plural: "endpoints",
  singular: "endpoints",
  shortNames: ["ep"],
  categories: [],
  namespaced: true,
  hasStatus: false,
  hasGeneration: false,
  selectableFields: [],
  merging: {},
  schema: Endpoints,
  verbs: ["get", "list", "watch"],
  of: "EndpointSlice",
};

/** What of a Service its Endpoints follow from. */
export interface ServiceFacts {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly creationTimestamp: string | undefined;
  readonly labels: Labels | undefined;
  readonly hasSelector: boolean;
  /** Of its first address; an Endpoints has no other. */
  readonly family: string | undefined;
}

/** What of a slice an Endpoints has. */
export interface SliceFacts {
  readonly family: string;
  readonly ports: readonly EndpointPort[];
  readonly ready: readonly EndpointAddress[];
  readonly notReady: readonly EndpointAddress[];
}

/** undefined: it has no Endpoints, whatever its slices say. */
export function serviceFactsOf(service: Service): ServiceFacts | undefined {
  const { metadata, spec } = service;
  if (spec.type === "ExternalName") return undefined;
  const { name, namespace = "", uid = "", creationTimestamp } = metadata;
  const labels = isHeadless(service) ? { ...metadata.labels, [HEADLESS_LABEL]: "" } : metadata.labels;
  return {
    name,
    namespace,
    uid,
    creationTimestamp,
    labels,
    hasSelector: Object.keys(spec.selector ?? {}).length > 0,
    family: spec.ipFamilies?.[0],
  };
}

/** undefined: nothing of it belongs into an Endpoints, which cannot say that only programs on the same host reach an address. */
export function sliceFactsOf(slice: EndpointSlice): SliceFacts | undefined {
  if (reachOf(slice) === "Node") return undefined;
  const { addressType, endpoints, ports } = slice;
  const ready = endpoints.filter(({ conditions }) => conditions.ready !== false);
  // As in Kubernetes: what is about to go is not there any more.
  const notReady = endpoints.filter(({ conditions }) => conditions.ready === false && conditions.terminating !== true);
  return {
    family: addressType,
    ports: ports.flatMap(({ name = "", port, protocol, appProtocol }) =>
      port === undefined ? [] : [{ ...(name !== "" && { name }), port, protocol, ...(appProtocol !== undefined && { appProtocol }) }],
    ),
    ready: ready.map(addressOf),
    notReady: notReady.map(addressOf),
  };
}

function addressOf({ addresses, hostname, nodeName, targetRef }: Endpoint): EndpointAddress {
  return {
    ip: addresses[0] ?? "",
    ...(hostname !== undefined && { hostname }),
    ...(nodeName !== undefined && { nodeName }),
    ...(targetRef !== undefined && { targetRef }),
  };
}

/** As many as Kubernetes' controller writes: every change sends all of them. */
const MAX_ADDRESSES = 1000;
const OVER_CAPACITY = { "endpoints.kubernetes.io/over-capacity": "truncated" };

export function endpointsOf(service: ServiceFacts, slices: readonly SliceFacts[], revision: number): Endpoints {
  const { name, namespace, uid, creationTimestamp, labels, hasSelector, family } = service;
  // Slices that people write for a service without selector are of the families that they chose.
  const own = hasSelector ? slices.filter((slice) => slice.family === (family ?? slice.family)) : slices;
  const count = own.reduce((sum, { ready, notReady }) => sum + ready.length + notReady.length, 0);
  const subsets = subsetsOf(own);
  return {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: {
      name,
      namespace,
      // The Service's with another first digit: one of its own that stays.
      uid: `${uid.startsWith("e") ? "f" : "e"}${uid.slice(1)}`,
      resourceVersion: String(revision),
      ...(creationTimestamp !== undefined && { creationTimestamp }),
      ...(labels && { labels }),
      ...(count > MAX_ADDRESSES && { annotations: OVER_CAPACITY }),
    },
    ...(subsets.length > 0 && { subsets }),
  };
}

function subsetsOf(slices: readonly SliceFacts[]): EndpointSubset[] {
  const byPorts = Map.groupBy(slices, ({ ports }) => JSON.stringify(ports));
  let room = MAX_ADDRESSES;
  const take = (of: readonly SliceFacts[], which: "ready" | "notReady"): EndpointAddress[] => {
    const taken = of.flatMap((slice) => slice[which]).slice(0, room);
    room -= taken.length;
    return taken.toSorted((a, b) => (a.ip < b.ip ? -1 : 1));
  };
  // Those that are ready first, in all subsets, as there may not be room for all.
  const ready = [...byPorts.values()].map((same) => ({ same, addresses: take(same, "ready") }));
  return ready.flatMap(({ same, addresses }) => {
    const notReadyAddresses = take(same, "notReady");
    const ports = [...(same[0]?.ports ?? [])];
    if (addresses.length + notReadyAddresses.length === 0) return [];
    return {
      ...(addresses.length > 0 && { addresses }),
      ...(notReadyAddresses.length > 0 && { notReadyAddresses }),
      ...(ports.length > 0 && { ports }),
    };
  });
}

const SHOWN = 3;

/** `10.0.0.1:80,10.0.0.2:80 + 4 more...`: those that are ready, with each of their ports. */
function endpointsText({ subsets = [] }: Endpoints): string {
  const all = subsets.flatMap(({ addresses = [], ports = [] }) =>
    ports.length === 0 ? addresses.map(({ ip }) => ip) : ports.flatMap(({ port }) => addresses.map(({ ip }) => hostPort(ip, port))),
  );
  if (subsets.length === 0) return "<none>";
  const shown = all.slice(0, SHOWN).join(",");
  return all.length > SHOWN ? `${shown} + ${all.length - SHOWN} more...` : shown;
}

function hostPort(ip: string, port: number): string {
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

const columns: readonly Column<Endpoints>[] = [
  { name: "Name", cell: ({ metadata }) => metadata.name },
  { name: "Endpoints", cell: endpointsText },
  { name: "Age", cell: ({ metadata }, now) => age(metadata.creationTimestamp, now) },
];

export const endpointsForm: Form<Endpoints> = { apiVersion: "v1", kind: "Endpoints", columns };
