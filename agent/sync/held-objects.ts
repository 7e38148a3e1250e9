import type { ClusterFacts, FollowedKind } from "#proto/agents.ts";
import { serviceKeyOf, type EndpointSlice } from "#proto/endpoint-slice.ts";
import type { ObjectOf } from "#proto/kinds.ts";
import { keyOf, type ObjectKey } from "#proto/meta.ts";
import type { Namespace } from "#proto/namespace.ts";
import type { Node } from "#proto/node.ts";
import type { Service } from "#proto/service.ts";
import type { Workload } from "#proto/workload.ts";
import type { ClusterState, Touched } from "./state.ts";

export type FollowedObject = { [Kind in FollowedKind]: ObjectOf<Kind> }[FollowedKind];

/** What changes of objects touched, while it is being found out. */
export interface TouchedSets {
  readonly services: Set<ObjectKey>;
  readonly namespaces: Set<ObjectKey>;
  readonly nodes: Set<ObjectKey>;
  readonly ownWorkloads: Set<ObjectKey>;
}

/** The maps behind ClusterState, kept consistent with each other; the work of a change follows the change. */
export interface HeldObjects {
  readonly state: ClusterState;
  get(kind: FollowedKind, key: ObjectKey): FollowedObject | undefined;
  put(object: FollowedObject, touched: TouchedSets): void;
  delete(kind: FollowedKind, key: ObjectKey, touched: TouchedSets): void;
  setRevision(revision: number): void;
  setCluster(cluster: ClusterFacts): void;
  /** Every object, in no order. */
  all(): FollowedObject[];
}

export function createHeldObjects(nodeName: string): HeldObjects {
  const namespaces = new Map<ObjectKey, Namespace>();
  const nodes = new Map<ObjectKey, Node>();
  const services = new Map<ObjectKey, Service>();
  const slices = new Map<ObjectKey, EndpointSlice>();
  const slicesByService = new Map<ObjectKey, Map<ObjectKey, EndpointSlice>>();
  const ownWorkloads = new Map<ObjectKey, Workload>();
  const held = { revision: 0, cluster: undefined as ClusterFacts | undefined };
  const mapOf = { Namespace: namespaces, Node: nodes, Service: services, EndpointSlice: slices, Workload: ownWorkloads } as const;

  function unlinkSlice(slice: EndpointSlice, key: ObjectKey, touched: TouchedSets): void {
    const service = serviceKeyOf(slice);
    if (service === undefined) return;
    const siblings = slicesByService.get(service);
    siblings?.delete(key);
    if (siblings?.size === 0) slicesByService.delete(service);
    touched.services.add(service);
  }

  function putSlice(slice: EndpointSlice, key: ObjectKey, touched: TouchedSets): void {
    const before = slices.get(key);
    if (before) unlinkSlice(before, key, touched);
    slices.set(key, slice);
    const service = serviceKeyOf(slice);
    if (service === undefined) return;
    const siblings = slicesByService.get(service) ?? new Map<ObjectKey, EndpointSlice>();
    slicesByService.set(service, siblings.set(key, slice));
    touched.services.add(service);
  }

  function deleteObject(kind: FollowedKind, key: ObjectKey, touched: TouchedSets): void {
    if (kind === "EndpointSlice") {
      const before = slices.get(key);
      if (before) unlinkSlice(before, key, touched);
    }
    if (mapOf[kind].delete(key) && kind !== "EndpointSlice") touched[TOUCHED_BY[kind]].add(key);
  }

  return {
    state: {
      get revision() {
        return held.revision;
      },
      get cluster() {
        return held.cluster;
      },
      namespaces,
      nodes,
      services,
      slices,
      slicesByService,
      ownWorkloads,
    },
    get: (kind, key) => mapOf[kind].get(key),
    put(object, touched) {
      const key = keyOf(object);
      if (object.kind === "EndpointSlice") {
        putSlice(object, key, touched);
        return;
      }
      if (object.kind === "Workload" && object.spec.node !== nodeName) {
        deleteObject("Workload", key, touched);
        return;
      }
      if (object.kind === "Workload") ownWorkloads.set(key, object);
      else if (object.kind === "Service") services.set(key, object);
      else if (object.kind === "Node") nodes.set(key, object);
      else namespaces.set(key, object);
      touched[TOUCHED_BY[object.kind]].add(key);
    },
    delete: deleteObject,
    setRevision: (revision) => void (held.revision = revision),
    setCluster: (cluster) => void (held.cluster = cluster),
    all: () => [...namespaces.values(), ...nodes.values(), ...services.values(), ...slices.values(), ...ownWorkloads.values()],
  };
}

export function noneTouched(): TouchedSets {
  return { services: new Set(), namespaces: new Set(), nodes: new Set(), ownWorkloads: new Set() };
}

export function touchedOf(sets: TouchedSets, facts: Pick<Touched, "revision" | "all">): Touched {
  return { ...sets, ...facts };
}

const TOUCHED_BY = { Namespace: "namespaces", Node: "nodes", Service: "services", Workload: "ownWorkloads" } as const;
