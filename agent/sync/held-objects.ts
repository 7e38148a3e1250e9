import type { ClusterFacts, FollowedKind } from "#proto/agents.ts";
import type { EndpointSlice } from "#proto/endpoint-slice.ts";
import type { ObjectOf } from "#proto/kinds.ts";
import type { ObjectKey } from "#proto/meta.ts";
import type { Namespace } from "#proto/namespace.ts";
import type { Node } from "#proto/node.ts";
import type { Service } from "#proto/service.ts";
import type { Workload } from "#proto/workload.ts";
import type { PackedObject } from "./packed-object.ts";
import type { ClusterState, ObjectView, Touched } from "./state.ts";

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
  get(kind: FollowedKind, key: ObjectKey): PackedObject | undefined;
  put(object: PackedObject, touched: TouchedSets): void;
  delete(kind: FollowedKind, key: ObjectKey, touched: TouchedSets): void;
  setRevision(revision: number): void;
  setCluster(cluster: ClusterFacts): void;
  /** Every object, in no order. */
  all(): PackedObject[];
}

const NONE: readonly ObjectKey[] = [];

type PackedMap = Map<ObjectKey, PackedObject>;

export function createHeldObjects(nodeName: string): HeldObjects {
  const packed: Record<FollowedKind, PackedMap> = {
    Namespace: new Map(),
    Node: new Map(),
    Service: new Map(),
    EndpointSlice: new Map(),
    Workload: new Map(),
  };
  const slicesByService = new Map<ObjectKey, readonly ObjectKey[]>();
  /** Few, and asked for often. */
  const ownWorkloads = new Map<ObjectKey, Workload>();
  const slices = viewOf<EndpointSlice>(packed.EndpointSlice);
  const held = { revision: 0, cluster: undefined as ClusterFacts | undefined };

  function unlinkSlice(key: ObjectKey, touched: TouchedSets): void {
    const service = packed.EndpointSlice.get(key)?.service;
    if (service === undefined) return;
    const siblings = (slicesByService.get(service) ?? []).filter((one) => one !== key);
    if (siblings.length === 0) slicesByService.delete(service);
    else slicesByService.set(service, siblings);
    touched.services.add(service);
  }

  function putSlice(slice: PackedObject, touched: TouchedSets): void {
    const { key, service } = slice;
    unlinkSlice(key, touched);
    packed.EndpointSlice.set(key, slice);
    if (service === undefined) return;
    slicesByService.set(service, (slicesByService.get(service) ?? NONE).concat(key)); // a literal with `...` would leave room for 17
    touched.services.add(service);
  }

  function deleteObject(kind: FollowedKind, key: ObjectKey, touched: TouchedSets): void {
    if (kind === "EndpointSlice") unlinkSlice(key, touched);
    if (kind === "Workload") ownWorkloads.delete(key);
    if (packed[kind].delete(key) && kind !== "EndpointSlice") touched[TOUCHED_BY[kind]].add(key);
  }

  return {
    state: {
      get revision() {
        return held.revision;
      },
      get cluster() {
        return held.cluster;
      },
      namespaces: viewOf<Namespace>(packed.Namespace),
      nodes: viewOf<Node>(packed.Node),
      services: viewOf<Service>(packed.Service),
      slices,
      slicesByService: {
        has: (service) => slicesByService.has(service),
        get(service) {
          const keys = slicesByService.get(service);
          return keys && new Map(keys.flatMap((key) => entryOf(slices, key)));
        },
      },
      ownWorkloads,
    },
    get: (kind, key) => packed[kind].get(key),
    put(object, touched) {
      const { kind, key } = object;
      if (kind === "EndpointSlice") {
        putSlice(object, touched);
        return;
      }
      if (kind === "Workload") {
        const workload = JSON.parse(object.text) as Workload; // our own text of a valid object
        if (workload.spec.node !== nodeName) {
          deleteObject("Workload", key, touched);
          return;
        }
        ownWorkloads.set(key, workload);
      }
      packed[kind].set(key, object);
      touched[TOUCHED_BY[kind]].add(key);
    },
    delete: deleteObject,
    setRevision: (revision) => void (held.revision = revision),
    setCluster: (cluster) => void (held.cluster = cluster),
    all: () => Object.values(packed).flatMap((objects) => [...objects.values()]),
  };
}

export function noneTouched(): TouchedSets {
  return { services: new Set(), namespaces: new Set(), nodes: new Set(), ownWorkloads: new Set() };
}

export function touchedOf(sets: TouchedSets, facts: Pick<Touched, "revision" | "all">): Touched {
  return { ...sets, ...facts };
}

function viewOf<T extends ObjectOf<FollowedKind>>(objects: ReadonlyMap<ObjectKey, PackedObject>): ObjectView<T> {
  return {
    get size() {
      return objects.size;
    },
    has: (key) => objects.has(key),
    keys: () => objects.keys(),
    get(key) {
      const object = objects.get(key);
      return object && (JSON.parse(object.text) as T); // our own text of a valid object
    },
  };
}

function entryOf(view: ObjectView<EndpointSlice>, key: ObjectKey): [ObjectKey, EndpointSlice][] {
  const value = view.get(key);
  return value === undefined ? [] : [[key, value]];
}

const TOUCHED_BY = { Namespace: "namespaces", Node: "nodes", Service: "services", Workload: "ownWorkloads" } as const;
