import type { FastifyReply, FastifyRequest } from "fastify";
import type { Status } from "#proto/error.ts";
import type { ListQuery } from "./options.ts";
import { beginReply, pump } from "./pump.ts";
import type { Polls } from "./polls.ts";
import type { ListRequest } from "./read.ts";
import { tableOf, wantsTable, type IncludeObject } from "./table.ts";
import { viewOf, type Form, type ShownObject, type View } from "./view.ts";
import { watchLines, watchPlan, type WatchLine, type WatchPlan, type WatchSource } from "./watch-lines.ts";

/** `?watch=true`: one JSON object a line, until the time is up, the reader is gone, or the server stops. */

export interface WatchDeps extends WatchSource {
  readonly polls: Polls;
  /** A reader that takes nothing for so long is cut off; it resumes where it was. */
  readonly stalledAfterMs: number;
}

const DEFAULT_TIMEOUT_S = 30 * 60;
const MAX_TIMEOUT_S = 2 * 3600;

/** Of stored objects that match. */
export function replyWithWatch(
  deps: WatchDeps,
  wanted: ListRequest,
  query: ListQuery,
  call: WatchCall,
  view: View = viewOf(wanted.kind),
): FastifyReply {
  return replyWithLines(deps, query, call, (plan, signal) => {
    const { request } = call;
    const lines = shownLines(watchLines(deps, wanted, plan, signal), view);
    return lineTexts(lines, view, { asTables: wantsTable(request.headers.accept), includeObject: query.includeObject });
  });
}

export interface WatchCall {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

/** Sends texts, one line each, until there are no more. */
export function replyWithLines(
  deps: Pick<WatchDeps, "polls" | "stalledAfterMs">,
  query: ListQuery,
  { request, reply }: WatchCall,
  linesOf: (plan: WatchPlan, signal: AbortSignal) => AsyncIterable<string>,
): FastifyReply {
  const plan = watchPlan(query);
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
  const raw = beginReply(reply);
  void pump(raw, linesOf(plan, ended.signal), { signal: ended.signal, stalledAfterMs: deps.stalledAfterMs })
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

/** As it is sent. */
export type ShownLine =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: ShownObject }
  | { readonly type: "BOOKMARK"; readonly object: { readonly metadata: Mark } }
  | { readonly type: "ERROR"; readonly object: Status };

interface Mark {
  readonly resourceVersion: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

async function* shownLines(lines: AsyncIterable<WatchLine>, view: View): AsyncGenerator<ShownLine, void, undefined> {
  for await (const line of lines)
    yield line.type === "ERROR" || line.type === "BOOKMARK" ? line : { type: line.type, object: await view.show(line.object) };
}

/** For those who ask so each event is a Table of one row; a bookmark has none. */
export async function* lineTexts(
  lines: AsyncIterable<ShownLine>,
  form: Form,
  { asTables, includeObject }: { readonly asTables: boolean; readonly includeObject: IncludeObject },
): AsyncGenerator<string, void, undefined> {
  const { apiVersion, kind } = form;
  let definitions = true;
  for await (const line of lines) {
    if (line.type === "ERROR") yield textOf(line);
    else if (asTables) {
      const metadata = { resourceVersion: line.object.metadata.resourceVersion ?? "" };
      const rows = line.type === "BOOKMARK" ? [] : [line.object];
      yield textOf({ type: line.type, object: tableOf(form, rows, metadata, { includeObject, now: Date.now(), definitions }) });
      definitions = false;
    } else if (line.type === "BOOKMARK") yield textOf({ type: line.type, object: { apiVersion, kind, metadata: line.object.metadata } });
    else yield `{"type":"${line.type}","object":${jsonOf(line.object)}}\n`;
  }
}

function textOf(line: { readonly type: string; readonly object: object }): string {
  return `${JSON.stringify(line)}\n`;
}

/** All who watch are told of the same object, which the store gives out frozen: its text is made once. */
const texts = new WeakMap<object, string>();

function jsonOf(object: object): string {
  const known = texts.get(object);
  if (known !== undefined) return known;
  const text = JSON.stringify(object);
  if (Object.isFrozen(object)) texts.set(object, text);
  return text;
}
