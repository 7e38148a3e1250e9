import { AppError } from "#proto/error.ts";
import { apiVersionOf, kindNames, kinds, type AnyObject } from "#proto/kinds.ts";
import { DEFAULT_NAMESPACE, SYSTEM_NAMESPACE } from "#proto/namespace.ts";
import { notFound } from "#server/store/errors.ts";
import type { StoreKey } from "#server/store/store.ts";
import { SERVER_ITSELF, type Identity } from "#server/trust/identity.ts";
import { timestamp } from "./draft.ts";
import type { DeleteOptions } from "./options.ts";
import { matching, type KubeList, type ListRequest } from "./read.ts";
import { checkPreconditions, withRetries } from "./races.ts";
import { logChange, transact, type WriteDeps } from "./write.ts";

/** Deletions. A Workload drains first: it is marked, and a controller removes it when its time is up. */

export interface Deleted {
  /** The last state; for one that drains, the marked object. */
  readonly object: AnyObject;
  readonly gone: boolean;
}

export interface DeleteRequest {
  readonly key: StoreKey;
  readonly identity: Identity;
  readonly options: DeleteOptions;
}

const PROTECTED: ReadonlySet<string> = new Set([DEFAULT_NAMESPACE, SYSTEM_NAMESPACE]);
/** Deleted by one transaction, so that a large namespace does not keep the others waiting. */
const CHUNK = 200;
const MAX_GRACE_S = 3600;

export async function deleteObject(deps: WriteDeps, request: DeleteRequest): Promise<Deleted> {
  const { key, identity, options } = request;
  return withRetries(async () => {
    const current = await deps.store.get(key);
    if (!current) throw notFound(key);
    checkPreconditions(key, current, { metadata: { uid: options.uid, resourceVersion: options.resourceVersion } });
    if (key.kind === "Namespace" && PROTECTED.has(key.name))
      throw new AppError("Forbidden", `namespaces "${key.name}" is forbidden: this namespace may not be deleted`, {
        subject: { name: key.name, kind: "namespaces" },
      });
    await deps.admission.admit({ kind: key.kind, operation: "delete", identity, previous: current, next: current });
    if (current.kind === "Workload") return deleteWorkload(deps, request, current);
    if (options.dryRun) return { object: current, gone: true };
    if (current.kind === "Namespace") return { object: await deleteNamespace(deps, current, identity), gone: true };
    return { object: await remove(deps, request, current), gone: true };
  });
}

/** Objects that match, each as if it were deleted alone; those that others delete meanwhile are left out. */
export async function deleteCollection(
  deps: WriteDeps,
  wanted: ListRequest,
  { identity, options }: Omit<DeleteRequest, "key">,
): Promise<KubeList> {
  const items: AnyObject[] = [];
  let waiting: Promise<AnyObject | undefined>[] = [];
  const settle = async (): Promise<void> => {
    for (const object of await Promise.all(waiting)) if (object) items.push(object);
    waiting = [];
  };
  for await (const { metadata } of matching(deps.store, wanted)) {
    const key = { kind: wanted.kind, namespace: metadata.namespace ?? "", name: metadata.name };
    waiting.push(deleteIfThere(deps, { key, identity, options }));
    if (waiting.length >= CHUNK) await settle();
  }
  await settle();
  return {
    kind: `${wanted.kind}List`,
    apiVersion: apiVersionOf(kinds[wanted.kind]),
    metadata: { resourceVersion: String(deps.store.revision) },
    items,
  };
}

/** Goes on with namespaces whose deletion a restart has interrupted. */
export async function finishNamespaces(deps: WriteDeps): Promise<void> {
  for await (const namespace of matching(deps.store, { kind: "Namespace", namespace: undefined, labelSelector: [], fieldSelector: [] }))
    if (namespace.kind === "Namespace" && namespace.metadata.deletionTimestamp !== undefined)
      await deleteNamespace(deps, namespace, SERVER_ITSELF);
}

async function deleteIfThere(deps: WriteDeps, request: DeleteRequest): Promise<AnyObject | undefined> {
  try {
    return (await deleteObject(deps, request)).object;
  } catch (error) {
    if (error instanceof AppError && error.code === "NotFound") return undefined;
    throw error;
  }
}

type Workload = Extract<AnyObject, { kind: "Workload" }>;

async function deleteWorkload(deps: WriteDeps, request: DeleteRequest, current: Workload): Promise<Deleted> {
  const { options, identity } = request;
  const grace = Math.min(options.gracePeriodSeconds ?? current.spec.terminationGracePeriodSeconds, MAX_GRACE_S);
  if (grace === 0) return { object: options.dryRun ? current : await remove(deps, request, current), gone: true };
  const marked = withDeadline(current, deps.now() + grace * 1000, grace);
  if (marked === current || options.dryRun) return { object: marked, gone: false };
  const put = { op: "put", object: marked, expect: revisionOf(current) } as const;
  const { objects } = await transact(deps, [put]);
  const object = objects[0] ?? marked;
  logChange(deps, { verb: "draining", kind: "Workload", object, identity });
  return { object, gone: false };
}

/** Asking again can make it end sooner, never later. The time is rounded up to seconds, so that it is never shorter than promised. */
function withDeadline(current: Workload, deadline: number, deletionGracePeriodSeconds: number): Workload {
  const deletionTimestamp = timestamp(Math.ceil(deadline / 1000) * 1000);
  const { metadata } = current;
  if (metadata.deletionTimestamp !== undefined && Date.parse(metadata.deletionTimestamp) <= Date.parse(deletionTimestamp)) return current;
  const generation = (metadata.generation ?? 1) + (metadata.deletionTimestamp === undefined ? 1 : 0);
  return { ...current, metadata: { ...metadata, deletionTimestamp, deletionGracePeriodSeconds, generation } };
}

async function remove(deps: WriteDeps, { key, identity }: Pick<DeleteRequest, "key" | "identity">, current: AnyObject): Promise<AnyObject> {
  const { objects } = await transact(deps, [{ op: "delete", key, expect: revisionOf(current) }]);
  const object = objects[0] ?? current;
  logChange(deps, { verb: "deleted", kind: key.kind, object, identity });
  return object;
}

type Namespace = Extract<AnyObject, { kind: "Namespace" }>;

/** First nobody may create in it any more, then its content goes, then itself. A crash in between is made good by the next start. */
async function deleteNamespace(deps: WriteDeps, current: Namespace, identity: Identity): Promise<AnyObject> {
  const { name } = current.metadata;
  const key: StoreKey = { kind: "Namespace", namespace: "", name };
  if (current.metadata.deletionTimestamp === undefined) {
    const metadata = { ...current.metadata, deletionTimestamp: timestamp(deps.now()) };
    const closing = { ...current, metadata, status: { ...current.status, phase: "Terminating" } };
    await transact(deps, [{ op: "put", object: closing, expect: revisionOf(current) }]);
  }
  const removed = await emptyNamespace(deps, name);
  // Somebody else may have come to the same end.
  const last = await deps.store.get(key);
  const { objects } = last ? await transact(deps, [{ op: "delete", key }]) : { objects: [] };
  const object = objects[0] ?? current;
  deps.log.info({ namespace: name, objects: removed }, "emptied namespace");
  logChange(deps, { verb: "deleted", kind: "Namespace", object, identity });
  return object;
}

/** Deletes all that is in it; controllers may write a last Event meanwhile, so it looks again until nothing is left. */
async function emptyNamespace(deps: WriteDeps, namespace: string): Promise<number> {
  let removed = 0;
  for (const kind of kindNames.filter((name) => kinds[name].namespaced))
    for (;;) {
      const { items } = await deps.store.list({ kind, namespace, limit: CHUNK });
      if (items.length === 0) break;
      removed += await removeAll(deps, items);
    }
  return removed;
}

async function removeAll(deps: WriteDeps, items: readonly AnyObject[]): Promise<number> {
  const writes = items.map(({ kind, metadata }) => ({
    op: "delete" as const,
    key: { kind, namespace: metadata.namespace ?? "", name: metadata.name },
  }));
  try {
    await transact(deps, writes);
    return items.length;
  } catch (error) {
    // One that is gone meanwhile is no reason to stop: the caller lists again.
    if (error instanceof AppError && (error.code === "NotFound" || error.code === "Conflict")) return 0;
    throw error;
  }
}

function revisionOf({ metadata }: AnyObject): number {
  return Number(metadata.resourceVersion);
}
