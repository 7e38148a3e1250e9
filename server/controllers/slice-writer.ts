import { randomInt, randomUUID } from "node:crypto";
import type { EndpointSlice } from "#proto/endpoint-slice.ts";
import type { ObjectKey } from "#proto/meta.ts";
import type { Service } from "#proto/service.ts";
import type { Store, StoreKey, Write } from "../store/store.ts";
import { planSlices, type SliceDraft, type SlicePlan } from "./endpoints.ts";
import type { FleetView } from "./fleet-view.ts";

/** Brings the slices of one service in line with what its selector finds; writes only those that differ. */
export async function reconcileEndpoints(
  { store, view }: { readonly store: Store; readonly view: FleetView },
  service: ObjectKey,
): Promise<void> {
  const [namespace = "", name = ""] = service.split("/");
  const found = await store.get({ kind: "Service", namespace, name });
  const existing = await readSlices(store, namespace, view.sliceNames(service));
  const writes = found?.kind === "Service" ? writesFor(found, existing, view) : existing.map(removal);
  if (writes.length > 0) await store.transact(writes);
}

async function readSlices(store: Store, namespace: string, names: readonly string[]): Promise<EndpointSlice[]> {
  const found: EndpointSlice[] = [];
  for (const name of names) {
    const object = await store.get({ kind: "EndpointSlice", namespace, name });
    if (object?.kind === "EndpointSlice") found.push(object);
  }
  return found;
}

function writesFor(service: Service, existing: readonly EndpointSlice[], view: FleetView): Write[] {
  // Without a selector the endpoints are made by hand; what we made before the selector was taken away is not.
  if (Object.keys(service.spec.selector ?? {}).length === 0) return existing.map(removal);
  const plan = planSlices({
    service,
    workloads: view.workloadsFor(service),
    node: (name) => view.node(name),
    existing,
    newName: () => `${service.metadata.name}-${suffix()}`,
  });
  return writesOf(plan, service);
}

function writesOf({ create, replace, remove }: SlicePlan, service: Service): Write[] {
  return [
    ...replace.map(({ existing, draft }): Write => ({ op: "put", object: replaced(existing, draft), expect: revisionOf(existing) })),
    ...create.map((draft): Write => ({ op: "put", object: created(draft, service), expect: "create" })),
    ...remove.map(removal),
  ];
}

function created(draft: SliceDraft, service: Service): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: draft.name,
      namespace: service.metadata.namespace,
      uid: randomUUID(),
      generation: 1,
      creationTimestamp: `${new Date().toISOString().slice(0, 19)}Z`,
      labels: draft.labels,
      ownerReferences: [
        {
          apiVersion: "v1",
          kind: "Service",
          name: service.metadata.name,
          uid: service.metadata.uid,
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    addressType: draft.addressType,
    endpoints: draft.endpoints,
    ports: draft.ports,
  };
}

function replaced(existing: EndpointSlice, draft: SliceDraft): EndpointSlice {
  return {
    ...existing,
    metadata: { ...existing.metadata, labels: draft.labels, generation: (existing.metadata.generation ?? 0) + 1 },
    endpoints: draft.endpoints,
    ports: draft.ports,
  };
}

function removal(slice: EndpointSlice): Write {
  const key: StoreKey = { kind: "EndpointSlice", namespace: slice.metadata.namespace ?? "", name: slice.metadata.name };
  return { op: "delete", key, expect: revisionOf(slice) };
}

function revisionOf({ metadata }: EndpointSlice): number {
  return Number(metadata.resourceVersion);
}

/** No vowels and nothing that looks alike, as Kubernetes makes its names. */
const SUFFIX_CHARS = "bcdfghjklmnpqrstvwxz2456789";
function suffix(): string {
  return Array.from({ length: 5 }, () => SUFFIX_CHARS[randomInt(SUFFIX_CHARS.length)] ?? "").join("");
}
