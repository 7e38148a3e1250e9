import { isAppError, toStatus, type Status } from "#proto/error.ts";
import type { AnyObject } from "#proto/kinds.ts";
import { keyOf } from "#proto/meta.ts";
import { compactedAway, neverHappened } from "#server/store/errors.ts";
import type { Store } from "#server/store/store.ts";
import type { Hub } from "#server/watch/hub.ts";
import { followChanges, storedChanges, type ChangeSource, type ChangeWatch, type EventOf, type Watched } from "#server/watch/watch-kind.ts";
import { toAppError } from "./error-reply.ts";
import { parseRevision, type ListQuery } from "./options.ts";
import { forbiddenOption, matching, type ListRequest } from "./read.ts";

/** What a watch tells, line by line: what there is, if it is asked for, then what happens. */

export type LineOf<Object> = EventOf<Object> | { readonly type: "ERROR"; readonly object: Status };
export type WatchLine = LineOf<AnyObject>;

export interface WatchSource {
  readonly store: Store;
  readonly hub: Hub;
  /** A bookmark after so long without an event. */
  readonly bookmarkAfterMs: number;
}

export interface WatchPlan {
  readonly since: number | undefined;
  /** Begin with ADDED for all that is there. */
  readonly initial: boolean;
  /** Say when that is done. */
  readonly endMark: boolean;
  readonly bookmarks: boolean;
}

export function watchPlan(query: ListQuery): WatchPlan {
  const { sendInitialEvents, resourceVersionMatch = "", allowWatchBookmarks: bookmarks } = query;
  const since = parseRevision(query.resourceVersion);
  if (sendInitialEvents === undefined) {
    if (resourceVersionMatch !== "")
      throw forbiddenOption("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    return { since, initial: since === undefined || since === 0, endMark: false, bookmarks };
  }
  if (resourceVersionMatch !== "NotOlderThan")
    throw forbiddenOption('sendInitialEvents requires setting resourceVersionMatch to "NotOlderThan"');
  return { since, initial: sendInitialEvents, endMark: sendInitialEvents && bookmarks, bookmarks };
}

/** Of stored objects. */
export function watchLines(
  { store, hub, bookmarkAfterMs }: WatchSource,
  wanted: ListRequest,
  plan: WatchPlan,
  signal: AbortSignal,
): AsyncGenerator<WatchLine, void, undefined> {
  const source = { ...storedChanges({ store, hub }, wanted.kind), history: store, matching: () => matching(store, wanted) };
  return linesFrom(source, { plan, watch: { ...wanted, bookmarkAfterMs } }, signal);
}

/** A kind with its objects and their history. */
export interface LineSource<Object> extends ChangeSource<Object> {
  readonly history: Pick<Store, "revision" | "compactedRevision">;
  /** The objects that match, as they are now. */
  matching(): AsyncIterable<Object>;
}

export interface LinesWanted {
  readonly plan: WatchPlan;
  readonly watch: Omit<ChangeWatch, "since">;
}

export async function* linesFrom<Object extends Watched>(
  source: LineSource<Object>,
  { plan, watch: { bookmarkAfterMs, ...selection } }: LinesWanted,
  signal: AbortSignal,
): AsyncGenerator<LineOf<Object>, void, undefined> {
  try {
    checkSince(source.history, plan);
    const since = plan.initial || plan.since === undefined ? source.history.revision : plan.since;
    // What was read after `since`: its changes up to there come again in the log, and are not told twice.
    const toldAlready = new Map<string, number>();
    if (plan.initial) {
      for await (const object of source.matching()) {
        if (signal.aborted) return;
        const revision = Number(object.metadata.resourceVersion);
        if (revision > since) toldAlready.set(keyOf(object), revision);
        yield { type: "ADDED", object };
      }
      if (plan.endMark) {
        const { kind, apiVersion } = source;
        yield { type: "BOOKMARK", object: { kind, apiVersion, metadata: endMark(since) } };
      }
    }
    const watch = { ...selection, since, bookmarkAfterMs: plan.bookmarks ? bookmarkAfterMs : undefined };
    for await (const event of followChanges(source, watch, signal)) {
      if (event.type !== "BOOKMARK" && toldAlready.size > 0 && wasTold(toldAlready, event.object)) continue;
      yield event;
    }
  } catch (error) {
    if (signal.aborted) return;
    yield errorLine(error);
  }
}

/** Throws Expired where nobody can go on from there. */
export function checkSince(store: Pick<Store, "revision" | "compactedRevision">, { since, initial }: WatchPlan): void {
  if (since !== undefined && since > store.revision) throw neverHappened(since, store.revision);
  if (!initial && since !== undefined && since < store.compactedRevision) throw compactedAway(since, store.compactedRevision);
}

/** Throws what is no answer for a client. */
export function errorLine(error: unknown): { readonly type: "ERROR"; readonly object: Status } {
  if (!isAppError(error)) throw error;
  return { type: "ERROR", object: toStatus(toAppError(error)) };
}

function wasTold(toldAlready: Map<string, number>, object: Watched): boolean {
  const key = keyOf(object);
  const told = toldAlready.get(key);
  if (told === undefined) return false;
  if (Number(object.metadata.resourceVersion) <= told) return true;
  toldAlready.delete(key);
  return false;
}

/** Metadata of the bookmark after the last of what there is. */
export function endMark(revision: number) {
  return { resourceVersion: String(revision), annotations: { "k8s.io/initial-events-end": "true" } };
}
