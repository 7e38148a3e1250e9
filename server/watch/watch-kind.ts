import { apiVersionOf, kinds, type AnyObject, type KindName } from "#proto/kinds.ts";
import type { ObjectMeta } from "#proto/meta.ts";
import { matchesFields, matchesLabels, type FieldRequirement, type LabelRequirement } from "#proto/selector.ts";
import type { Store, StoredChange } from "#server/store/store.ts";
import type { Hub, Waking } from "./hub.ts";

/** One line of a Kubernetes watch. */
export type EventOf<Watched> =
  { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: Watched } | { readonly type: "BOOKMARK"; readonly object: Bookmark };
export type KindEvent = EventOf<AnyObject>;

/** Says only: everything up to this revision was told. */
export interface Bookmark {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly resourceVersion: string };
}

/** An object that can be watched: a stored one, or one that follows from such. */
export interface Watched {
  readonly metadata: ObjectMeta;
}

export type ChangeOf<Object> = Pick<StoredChange, "revision" | "type"> & {
  readonly key: { readonly namespace: string };
  /** For DELETED: the last state, with the revision of the deletion. */
  readonly object: Object;
  readonly previous: Object | undefined;
};

/** Where the changes of a kind come from. */
export interface ChangeSource<Object> {
  readonly kind: string;
  readonly apiVersion: string;
  /** As the store's. */
  changesSince(since: number, limit: number): Promise<{ readonly changes: readonly ChangeOf<Object>[]; readonly revision: number }>;
  /** As the hub's. */
  waitPast(since: number, timeoutMs: number | undefined, signal: AbortSignal): Promise<Waking>;
}

export interface KindWatch extends ChangeWatch {
  readonly kind: KindName;
}

export interface ChangeWatch {
  /** Absent: all. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: readonly LabelRequirement[] | undefined;
  readonly fieldSelector?: readonly FieldRequirement[] | undefined;
  readonly since: number;
  /** After so long (at least 1) without an event that matches comes a bookmark, if the revision has moved; absent: never. */
  readonly bookmarkAfterMs?: number | undefined;
}

/**
 * Read from the log at once; the next batch is read when the reader has taken this one, however slow it is. A thousand readers who come from far back hold
 * as many batches, parsed: 500 of 10,000 small Services were 1.5 MB each.
 */
const BATCH = 64;

/** Of stored objects; see `followChanges`. */
export function watchKind(
  { store, hub }: { readonly store: Store; readonly hub: Hub },
  { kind, ...watch }: KindWatch,
  signal: AbortSignal,
): AsyncGenerator<KindEvent, void, undefined> {
  return followChanges(storedChanges({ store, hub }, kind), watch, signal);
}

export function storedChanges({ store, hub }: { readonly store: Store; readonly hub: Hub }, kind: KindName): ChangeSource<AnyObject> {
  const only: ReadonlySet<KindName> = new Set([kind]);
  return {
    kind,
    apiVersion: apiVersionOf(kinds[kind]),
    changesSince: (since, limit) => store.changesSince(since, { kinds: only, limit }),
    waitPast: (since, timeoutMs, signal) => hub.waitPast(since, { kinds: only, timeoutMs }, signal),
  };
}

/**
 * What happened to the objects that match, after `since`, until the signal aborts. Seen through the selectors: an object that starts
 * (stops) matching is ADDED (DELETED). Throws Expired when the log was compacted under a reader that is too slow.
 */
export async function* followChanges<Object extends Watched>(
  source: ChangeSource<Object>,
  watch: ChangeWatch,
  signal: AbortSignal,
): AsyncGenerator<EventOf<Object>, void, undefined> {
  let since = watch.since;
  let told = since;
  let toldAt = performance.now();
  let waking: Waking = "news";
  while (waking !== "stopped") {
    const { changes, revision } = await source.changesSince(since, BATCH);
    for (const change of changes) {
      const event = eventFor(watch, change);
      if (!event) continue;
      [told, toldAt] = [change.revision, performance.now()];
      yield event;
      if (signal.aborted) return;
    }
    since = revision;
    const { bookmarkAfterMs } = watch;
    // By the clock, and not only when it is quiet: changes that do not match may wake us all the time. And only of what was read: other
    // kinds may have moved the store's revision, but ours may have come with it.
    if (bookmarkAfterMs !== undefined && performance.now() - toldAt >= bookmarkAfterMs) {
      if (since > told) yield bookmark(source, since);
      [told, toldAt] = [since, performance.now()];
      if (signal.aborted) return;
    }
    const timeoutMs = bookmarkAfterMs === undefined ? undefined : toldAt + bookmarkAfterMs - performance.now();
    waking = await source.waitPast(since, timeoutMs, signal);
  }
}

/** What a change is to somebody who sees only what matches; undefined: nothing. */
function eventFor<Object extends Watched>(
  watch: ChangeWatch,
  { type, key, object, previous, revision }: ChangeOf<Object>,
): EventOf<Object> | undefined {
  if (watch.namespace !== undefined && key.namespace !== watch.namespace) return undefined;
  const was = previous !== undefined && matches(watch, previous);
  if (type === "DELETED") return was ? { type, object } : undefined;
  if (matches(watch, object)) return { type: was ? "MODIFIED" : "ADDED", object };
  // It stops matching: as Kubernetes does, what it was when it last matched, with the revision of the change.
  return was ? { type: "DELETED", object: atRevision(previous, revision) } : undefined;
}

export function matches(
  { labelSelector = [], fieldSelector = [] }: Pick<ChangeWatch, "labelSelector" | "fieldSelector">,
  object: Watched,
): boolean {
  return matchesLabels(labelSelector, object.metadata.labels) && matchesFields(fieldSelector, object);
}

function atRevision<Object extends Watched>(object: Object, revision: number): Object {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}

function bookmark({ apiVersion, kind }: Pick<ChangeSource<unknown>, "apiVersion" | "kind">, revision: number): EventOf<never> {
  return { type: "BOOKMARK", object: { apiVersion, kind, metadata: { resourceVersion: String(revision) } } };
}
