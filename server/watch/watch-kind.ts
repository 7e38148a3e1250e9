import { apiVersionOf, kinds, type AnyObject, type KindName } from "#proto/kinds.ts";
import { matchesFields, matchesLabels, type FieldRequirement, type LabelRequirement } from "#proto/selector.ts";
import type { Store, StoredChange } from "#server/store/store.ts";
import type { Hub, Waking } from "./hub.ts";

/** One line of a Kubernetes watch. */
export type KindEvent =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: AnyObject }
  | { readonly type: "BOOKMARK"; readonly object: Bookmark };

/** Says only: everything up to this revision was told. */
export interface Bookmark {
  readonly apiVersion: string;
  readonly kind: KindName;
  readonly metadata: { readonly resourceVersion: string };
}

export interface KindWatch {
  readonly kind: KindName;
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

/**
 * What happened to the objects that match, after `since`, until the signal aborts. Seen through the selectors: an object that starts
 * (stops) matching is ADDED (DELETED). Throws Expired when the log was compacted under a reader that is too slow.
 */
export async function* watchKind(
  { store, hub }: { readonly store: Store; readonly hub: Hub },
  watch: KindWatch,
  signal: AbortSignal,
): AsyncGenerator<KindEvent, void, undefined> {
  const only: ReadonlySet<KindName> = new Set([watch.kind]);
  let since = watch.since;
  let told = since;
  let toldAt = performance.now();
  let waking: Waking = "news";
  while (waking !== "stopped") {
    const { changes, revision } = await store.changesSince(since, { kinds: only, limit: BATCH });
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
      if (since > told) yield bookmark(watch.kind, since);
      [told, toldAt] = [since, performance.now()];
      if (signal.aborted) return;
    }
    const timeoutMs = bookmarkAfterMs === undefined ? undefined : toldAt + bookmarkAfterMs - performance.now();
    waking = await hub.waitPast(since, { kinds: only, timeoutMs }, signal);
  }
}

/** What a change is to somebody who sees only what matches; undefined: nothing. */
export function eventFor(watch: Omit<KindWatch, "since">, { type, key, object, previous, revision }: StoredChange): KindEvent | undefined {
  if (watch.namespace !== undefined && key.namespace !== watch.namespace) return undefined;
  const was = previous !== undefined && matches(watch, previous);
  if (type === "DELETED") return was ? { type, object } : undefined;
  if (matches(watch, object)) return { type: was ? "MODIFIED" : "ADDED", object };
  // It stops matching: as Kubernetes does, what it was when it last matched, with the revision of the change.
  return was ? { type: "DELETED", object: atRevision(previous, revision) } : undefined;
}

export function matches(
  { labelSelector = [], fieldSelector = [] }: Pick<KindWatch, "labelSelector" | "fieldSelector">,
  object: AnyObject,
): boolean {
  return matchesLabels(labelSelector, object.metadata.labels) && matchesFields(fieldSelector, object);
}

function atRevision(object: AnyObject, revision: number): AnyObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}

function bookmark(kind: KindName, revision: number): KindEvent {
  return { type: "BOOKMARK", object: { apiVersion: apiVersionOf(kinds[kind]), kind, metadata: { resourceVersion: String(revision) } } };
}
