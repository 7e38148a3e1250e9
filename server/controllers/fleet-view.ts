import type { AnyObject, KindName, ObjectOf } from "#proto/kinds.ts";
import { MANAGED_BY_LABEL, MANAGED_BY_US, serviceKeyOf } from "#proto/endpoint-slice.ts";
import { keyOf, type Labels, type ObjectKey } from "#proto/meta.ts";
import { ZONE_LABEL, type Node } from "#proto/node.ts";
import type { Service } from "#proto/service.ts";
import { needsVerdict, type Reach, type Workload, type WorkloadPort } from "#proto/workload.ts";
import { matchesSelector } from "#proto/selector.ts";
import { standingOf } from "./lease-rules.ts";
import type { StoredChange } from "../store/store.ts";

/**
 * What the endpoints of services follow from, in memory and indexed both ways, so that a change leads straight to the services that it
 * concerns: only what matters is held of each object, and a change that does not touch it concerns nobody.
 */
export interface FleetView {
  /** Takes over changes, in order; returns the keys of the services whose slices may have to change. */
  apply(changes: readonly ViewChange[]): ReadonlySet<ObjectKey>;
  workloadsFor(service: Service): WorkloadFacts[];
  node(name: string): NodeFacts | undefined;
  nodeNames(): readonly string[];
  /** Names of the slices that our controller keeps for a service. */
  sliceNames(service: ObjectKey): readonly string[];
  /** Services that there are, and those that only have slices left. */
  serviceKeys(): ReadonlySet<ObjectKey>;
  /** Services with a selector that nobody matches who is ready, in order. */
  idleServices(): readonly ObjectKey[];
  workloadsOn(node: string): readonly ObjectKey[];
}

export interface ViewChange {
  readonly type: StoredChange["type"];
  readonly object: AnyObject;
}

export interface WorkloadFacts {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string | undefined;
  readonly labels: Labels;
  readonly node: string;
  readonly address: string | undefined;
  readonly ports: readonly WorkloadPort[];
  /** Only programs on its own host reach it. */
  readonly reach: Reach;
  readonly weight: number;
  readonly passesChecks: boolean;
  readonly terminating: boolean;
}

export interface NodeFacts {
  readonly serving: boolean;
  readonly unschedulable: boolean;
  readonly zone: string | undefined;
}

export const VIEWED_KINDS = ["Node", "Workload", "Service", "EndpointSlice"] as const satisfies readonly KindName[];

export function createFleetView(): FleetView {
  const nodes = new Map<string, NodeFacts>();
  const workloads = new Map<ObjectKey, WorkloadFacts>();
  const byNode = multimap();
  const byLabel = multimap();
  const selectors = new Map<ObjectKey, { readonly namespace: string; readonly selector: Labels; readonly filedUnder: string }>();
  /** Each service stands under one pair of its selector: whoever matches the selector has that pair. */
  const byPair = multimap();
  const slices = multimap();

  function servicesSelecting({ namespace, labels }: WorkloadFacts, into: Set<ObjectKey>): void {
    for (const [key, value] of Object.entries(labels))
      for (const service of byPair.of(pair(namespace, key, value)))
        if (matchesSelector(selectors.get(service)?.selector, labels)) into.add(service);
  }

  function applyWorkload(type: ViewChange["type"], workload: Workload, touched: Set<ObjectKey>): void {
    const key = keyOf(workload);
    const before = workloads.get(key);
    const after = type === "DELETED" ? undefined : workloadFacts(workload);
    if (before && after && sameWorkload(before, after)) return;
    if (before) {
      byNode.remove(before.node, key);
      for (const [label, value] of Object.entries(before.labels)) byLabel.remove(pair(before.namespace, label, value), key);
      workloads.delete(key);
      servicesSelecting(before, touched);
    }
    if (after) {
      byNode.add(after.node, key);
      for (const [label, value] of Object.entries(after.labels)) byLabel.add(pair(after.namespace, label, value), key);
      workloads.set(key, after);
      servicesSelecting(after, touched);
    }
  }

  function applyNode(type: ViewChange["type"], node: Node, touched: Set<ObjectKey>): void {
    const { name } = node.metadata;
    const before = nodes.get(name);
    const after = type === "DELETED" ? undefined : nodeFacts(node);
    if (after) nodes.set(name, after);
    else nodes.delete(name);
    if (before?.serving === after?.serving && before?.unschedulable === after?.unschedulable && before?.zone === after?.zone) return;
    for (const key of byNode.of(name)) {
      const workload = workloads.get(key);
      if (workload) servicesSelecting(workload, touched);
    }
  }

  function applyService(type: ViewChange["type"], service: Service, touched: Set<ObjectKey>): void {
    const key = keyOf(service);
    const before = selectors.get(key);
    if (before) byPair.remove(before.filedUnder, key);
    selectors.delete(key);
    touched.add(key);
    if (type === "DELETED") return;
    const namespace = service.metadata.namespace ?? "";
    const selector = service.spec.selector ?? {};
    const pairs = Object.entries(selector).map(([label, value]) => pair(namespace, label, value));
    // The emptiest one, so that thousands of services that share `env=prod` do not all stand there.
    const filedUnder = pairs.toSorted((a, b) => byPair.of(a).size - byPair.of(b).size)[0] ?? "";
    selectors.set(key, { namespace, selector, filedUnder });
    if (filedUnder !== "") byPair.add(filedUnder, key);
  }

  function applySlice(type: ViewChange["type"], slice: ObjectOf<"EndpointSlice">, touched: Set<ObjectKey>): void {
    const service = serviceKeyOf(slice);
    if (service === undefined || slice.metadata.labels?.[MANAGED_BY_LABEL] !== MANAGED_BY_US) return;
    if (type === "DELETED") {
      slices.remove(service, slice.metadata.name);
      touched.add(service); // if an administrator deleted it, it is made again
    } else slices.add(service, slice.metadata.name); // written by the controller itself: nothing follows from it
  }

  function matching(namespace: string, selector: Labels): WorkloadFacts[] {
    const sets = Object.entries(selector).map(([label, value]) => byLabel.of(pair(namespace, label, value)));
    const [fewest] = sets.toSorted((a, b) => a.size - b.size);
    const found: WorkloadFacts[] = [];
    for (const key of fewest ?? []) {
      const workload = workloads.get(key);
      if (workload && matchesSelector(selector, workload.labels)) found.push(workload);
    }
    return found;
  }

  function isServing({ node, passesChecks, terminating, weight }: WorkloadFacts): boolean {
    return passesChecks && !terminating && weight > 0 && nodes.get(node)?.serving === true;
  }

  return {
    apply: (changes) => {
      const touched = new Set<ObjectKey>();
      for (const { type, object } of changes) {
        if (object.kind === "Workload") applyWorkload(type, object, touched);
        else if (object.kind === "Node") applyNode(type, object, touched);
        else if (object.kind === "Service") applyService(type, object, touched);
        else if (object.kind === "EndpointSlice") applySlice(type, object, touched);
      }
      return touched;
    },
    workloadsFor: (service) => matching(service.metadata.namespace ?? "", service.spec.selector ?? {}),
    idleServices: () =>
      [...selectors]
        .filter(([, { namespace, selector }]) => Object.keys(selector).length > 0 && !matching(namespace, selector).some(isServing))
        .map(([key]) => key)
        .toSorted(),
    node: (name) => nodes.get(name),
    nodeNames: () => [...nodes.keys()].toSorted(),
    sliceNames: (service) => [...slices.of(service)],
    serviceKeys: () => new Set([...selectors.keys(), ...slices.keys()]),
    workloadsOn: (node) => [...byNode.of(node)],
  };
}

function workloadFacts(workload: Workload): WorkloadFacts {
  const { metadata, spec, status } = workload;
  return {
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    uid: metadata.uid,
    labels: metadata.labels ?? {},
    node: spec.node,
    address: spec.address,
    ports: spec.ports,
    reach: spec.reach ?? "Fleet",
    weight: spec.weight,
    passesChecks: needsVerdict(workload) ? status.ready === true : true,
    terminating: spec.drain || metadata.deletionTimestamp !== undefined,
  };
}

function sameWorkload(a: WorkloadFacts, b: WorkloadFacts): boolean {
  return (
    a.uid === b.uid &&
    a.node === b.node &&
    a.address === b.address &&
    a.reach === b.reach &&
    a.weight === b.weight &&
    a.passesChecks === b.passesChecks &&
    a.terminating === b.terminating &&
    JSON.stringify(a.labels) === JSON.stringify(b.labels) &&
    JSON.stringify(a.ports) === JSON.stringify(b.ports)
  );
}

function nodeFacts(node: Node): NodeFacts {
  return {
    serving: standingOf(node) !== "lost",
    unschedulable: node.spec.unschedulable === true,
    zone: node.metadata.labels?.[ZONE_LABEL],
  };
}

function pair(namespace: string, label: string, value: string): string {
  return `${namespace} ${label}=${value}`;
}

const NONE: ReadonlySet<string> = new Set();

function multimap() {
  const sets = new Map<string, Set<string>>();
  return {
    of: (key: string): ReadonlySet<string> => sets.get(key) ?? NONE,
    keys: () => sets.keys(),
    add: (key: string, value: string) => {
      const set = sets.get(key);
      if (set) set.add(value);
      else sets.set(key, new Set([value]));
    },
    remove: (key: string, value: string) => {
      const set = sets.get(key);
      if (set?.delete(value) && set.size === 0) sets.delete(key);
    },
  };
}
