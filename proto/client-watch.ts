import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { backoffMs, pause } from "./backoff.ts";
import { AppError, errorCodes, fromStatus, isAppError } from "./error.ts";
import type { Transport } from "./client-http.ts";
import { pathOf, type KindName, type ObjectOf } from "./kinds.ts";
import { keyOf, type KubeObject } from "./meta.ts";
import { parseObject } from "./parse.ts";

/** SYNCED comes once, after the ADDED of all that was there at the start. */
export type WatchEvent<T> =
  { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: T } | { readonly type: "SYNCED"; readonly resourceVersion: string };

export interface WatchInput<Kind extends KindName> {
  readonly transport: Transport;
  readonly kind: Kind;
  readonly list: () => Promise<{ readonly items: readonly ObjectOf<Kind>[]; readonly resourceVersion: string }>;
  readonly options: {
    readonly namespace?: string | undefined;
    readonly labelSelector?: string | undefined;
    readonly fieldSelector?: string | undefined;
    readonly signal: AbortSignal;
  };
}

/** Longer than the server's bookmarks are apart: a watch silent for so long is dead. */
const SILENCE_MS = 90_000;

/**
 * List, then watch from there; on a broken connection it resumes where it was, and after compaction (410) it lists again and says only what is
 * different from what it said before. Ends when the signal aborts; throws only what retrying cannot mend (no permission, a bad selector).
 */
export async function* watchObjects<Kind extends KindName>({
  transport,
  kind,
  list,
  options,
}: WatchInput<Kind>): AsyncGenerator<WatchEvent<ObjectOf<Kind>>> {
  const { signal } = options;
  const stopped = (): boolean => signal.aborted;
  const known = new Map<string, ObjectOf<Kind>>();
  let from: string | undefined;
  let synced = false;
  for (let failures = 0; !signal.aborted;) {
    try {
      if (from === undefined) {
        const { items, resourceVersion } = await list();
        yield* difference(known, items);
        from = resourceVersion;
        if (!synced) yield { type: "SYNCED", resourceVersion };
        synced = true;
      }
      const stream = await transport.stream({
        path: pathOf(kind, { namespace: options.namespace }),
        query: {
          watch: true,
          resourceVersion: from,
          allowWatchBookmarks: true,
          labelSelector: options.labelSelector,
          fieldSelector: options.fieldSelector,
        },
        signal,
        timeoutMs: SILENCE_MS,
      });
      for await (const event of eventsOf(stream)) {
        failures = 0;
        from = event.object.metadata.resourceVersion ?? from;
        if (event.type === "BOOKMARK") continue;
        const object = parseObject(kind, event.object);
        if (event.type === "DELETED") known.delete(keyOf(event.object));
        else known.set(keyOf(event.object), object);
        yield { type: event.type, object };
      }
    } catch (error) {
      if (stopped()) return;
      if (isAppError(error, "Expired")) from = undefined;
      else if (isAppError(error) && isFinal(error)) throw error;
      failures++;
    }
    await pause(backoffMs(failures, Math.random()), signal);
  }
}

function* difference<T extends KubeObject>(known: Map<string, T>, items: readonly T[]): Generator<WatchEvent<T>> {
  const seen = new Set<string>();
  for (const object of items) {
    const key = keyOf(object);
    const before = known.get(key);
    seen.add(key);
    known.set(key, object);
    if (!before) yield { type: "ADDED", object };
    else if (before.metadata.resourceVersion !== object.metadata.resourceVersion) yield { type: "MODIFIED", object };
  }
  for (const [key, object] of known) {
    if (seen.has(key)) continue;
    known.delete(key);
    yield { type: "DELETED", object };
  }
}

interface RawEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  readonly object: KubeObject;
}

async function* eventsOf(stream: Readable): AsyncGenerator<RawEvent> {
  stream.setEncoding("utf8");
  const lines = createInterface({ input: stream, crlfDelay: Infinity });
  // Both emit what breaks the connection, and destroying it below counts as that: unheard, it would end the process. While lines are being read,
  // readline may end as if all were well, so the error is kept.
  let broken: unknown;
  const breaks = (error: unknown): void => void (broken ??= error);
  stream.on("error", breaks);
  lines.on("error", breaks);
  try {
    for await (const line of lines) {
      if (line.trim() === "") continue;
      const event = JSON.parse(line) as { type: string; object: KubeObject & { code?: number } }; // the server is authenticated; objects are validated by the caller
      if (event.type === "ERROR") throw fromStatus(event.object.code ?? 500, event.object);
      yield event as RawEvent;
    }
  } finally {
    lines.close();
    stream.destroy();
  }
  if (broken !== undefined) throw new AppError("ServiceUnavailable", "the watch broke off", { cause: broken });
}

function isFinal(error: AppError): boolean {
  const { status } = errorCodes[error.code];
  return error.code === "Usage" || (status >= 400 && status < 500 && status !== 410 && status !== 429);
}
