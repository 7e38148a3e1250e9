import type { ServerResponse } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { isAppError, toStatus, type Status } from "#proto/error.ts";
import { apiVersionOf, kinds, type AnyObject } from "#proto/kinds.ts";
import { keyOf } from "#proto/meta.ts";
import { compactedAway, neverHappened } from "#server/store/errors.ts";
import type { Store } from "#server/store/store.ts";
import type { Hub } from "#server/watch/hub.ts";
import { watchKind, type KindEvent } from "#server/watch/watch-kind.ts";
import { toAppError } from "./error-reply.ts";
import { parseRevision, type ListQuery } from "./options.ts";
import type { Polls } from "./polls.ts";
import { forbiddenOption, matching, type ListRequest } from "./read.ts";
import { tableOf, wantsTable, type IncludeObject } from "./table.ts";
import { viewOf, type View } from "./view.ts";

/** `?watch=true`: one JSON object a line, until the time is up, the reader is gone, or the server stops. */

export interface WatchDeps {
  readonly store: Store;
  readonly hub: Hub;
  readonly polls: Polls;
  /** A bookmark after so long without an event. */
  readonly bookmarkAfterMs: number;
  /** A reader that takes nothing for so long is cut off; it resumes where it was. */
  readonly stalledAfterMs: number;
}

type Line = KindEvent | { readonly type: "ERROR"; readonly object: Status };
/** As it is sent. */
interface ShownLine {
  readonly type: Line["type"];
  readonly object: object;
}

const DEFAULT_TIMEOUT_S = 30 * 60;
const MAX_TIMEOUT_S = 2 * 3600;

export function replyWithWatch(
  deps: WatchDeps,
  wanted: ListRequest,
  query: ListQuery,
  call: { request: FastifyRequest; reply: FastifyReply },
  view: View = viewOf(wanted.kind),
): FastifyReply {
  const { request, reply } = call;
  const plan = planOf(query);
  const poll = deps.polls.open("watch", request, reply);
  const seconds = Math.min(
    query.timeoutSeconds === undefined || query.timeoutSeconds === 0 ? DEFAULT_TIMEOUT_S : query.timeoutSeconds,
    MAX_TIMEOUT_S,
  );
  const ended = new AbortController();
  const end = (): void => ended.abort();
  const timer = setTimeout(end, seconds * 1000);
  poll.signal.addEventListener("abort", end, { once: true });
  if (poll.signal.aborted) end();
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, { "Content-Type": "application/json", "Cache-Control": "no-cache, private", ...headersOf(reply) });
  raw.flushHeaders();
  const lines = linesOf(deps, wanted, plan, ended.signal);
  const shown = shownLines(lines, view, { asTables: wantsTable(request.headers.accept), includeObject: query.includeObject });
  void pump(raw, shown, { signal: ended.signal, stalledAfterMs: deps.stalledAfterMs })
    .catch((error: unknown) => {
      request.log.error({ err: error }, "watch failed");
      raw.destroy();
    })
    .finally(() => {
      clearTimeout(timer);
      poll.release();
    });
  return reply;
}

interface Plan {
  readonly since: number | undefined;
  /** Begin with ADDED for all that is there. */
  readonly initial: boolean;
  /** Say when that is done. */
  readonly endMark: boolean;
  readonly bookmarks: boolean;
}

function planOf(query: ListQuery): Plan {
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

async function* linesOf(
  { store, hub, bookmarkAfterMs }: WatchDeps,
  wanted: ListRequest,
  plan: Plan,
  signal: AbortSignal,
): AsyncGenerator<Line, void, undefined> {
  try {
    if (plan.since !== undefined && plan.since > store.revision) throw neverHappened(plan.since, store.revision);
    if (!plan.initial && plan.since !== undefined && plan.since < store.compactedRevision)
      throw compactedAway(plan.since, store.compactedRevision);
    const since = plan.initial || plan.since === undefined ? store.revision : plan.since;
    // What was read after `since`: its changes up to there come again in the log, and are not told twice.
    const toldAlready = new Map<string, number>();
    if (plan.initial) {
      for await (const object of matching(store, wanted)) {
        if (signal.aborted) return;
        const revision = Number(object.metadata.resourceVersion);
        if (revision > since) toldAlready.set(keyOf(object), revision);
        yield { type: "ADDED", object };
      }
      if (plan.endMark) yield endOfInitial(wanted, since);
    }
    const watch = { ...wanted, since, bookmarkAfterMs: plan.bookmarks ? bookmarkAfterMs : undefined };
    for await (const event of watchKind({ store, hub }, watch, signal)) {
      if (event.type !== "BOOKMARK" && toldAlready.size > 0 && wasTold(toldAlready, event.object)) continue;
      yield event;
    }
  } catch (error) {
    if (signal.aborted) return;
    if (!isAppError(error)) throw error;
    yield { type: "ERROR", object: toStatus(toAppError(error)) };
  }
}

/** Each event's object as the view shows it, for those who ask so as a Table of one row; a bookmark has none. */
async function* shownLines(
  lines: AsyncIterable<Line>,
  view: View,
  { asTables, includeObject }: { readonly asTables: boolean; readonly includeObject: IncludeObject },
): AsyncGenerator<ShownLine, void, undefined> {
  let definitions = true;
  for await (const line of lines) {
    if (line.type === "ERROR") {
      yield line;
      continue;
    }
    const isMark = line.type === "BOOKMARK";
    if (asTables) {
      const metadata = { resourceVersion: line.object.metadata.resourceVersion ?? "" };
      const rows = isMark ? [] : [await view.show(line.object)];
      yield { type: line.type, object: tableOf(view, rows, metadata, { includeObject, now: Date.now(), definitions }) };
      definitions = false;
    } else
      yield {
        type: line.type,
        object: isMark ? { ...line.object, apiVersion: view.apiVersion, kind: view.kind } : await view.show(line.object),
      };
  }
}

function wasTold(toldAlready: Map<string, number>, object: AnyObject): boolean {
  const key = keyOf(object);
  const told = toldAlready.get(key);
  if (told === undefined) return false;
  if (Number(object.metadata.resourceVersion) <= told) return true;
  toldAlready.delete(key);
  return false;
}

function endOfInitial({ kind }: ListRequest, revision: number): Line {
  const metadata = { resourceVersion: String(revision), annotations: { "k8s.io/initial-events-end": "true" } };
  return { type: "BOOKMARK", object: { kind, apiVersion: apiVersionOf(kinds[kind]), metadata } };
}

async function pump(
  raw: ServerResponse,
  lines: AsyncIterable<ShownLine>,
  { signal, stalledAfterMs }: { signal: AbortSignal; stalledAfterMs: number },
): Promise<void> {
  for await (const line of lines) {
    if (signal.aborted) break;
    if (!raw.write(`${JSON.stringify(line)}\n`) && !(await drained(raw, signal, stalledAfterMs))) break;
  }
  // Ends cleanly for a reader that takes what it is sent; one that does not has nothing to lose.
  if (raw.writableNeedDrain) raw.destroy();
  else raw.end();
}

/** Whether the reader took what was written before the time was up. */
async function drained(raw: ServerResponse, signal: AbortSignal, stalledAfterMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const finish = (ok: boolean): void => {
      clearTimeout(timer);
      raw.off("drain", onDrain);
      raw.off("close", onEnd);
      signal.removeEventListener("abort", onEnd);
      resolve(ok);
    };
    const onDrain = (): void => finish(true);
    const onEnd = (): void => finish(false);
    const timer = setTimeout(onEnd, stalledAfterMs);
    raw.once("drain", onDrain);
    raw.once("close", onEnd);
    signal.addEventListener("abort", onEnd, { once: true });
  });
}

function headersOf(reply: FastifyReply): Record<string, string> {
  return Object.fromEntries(Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]));
}
