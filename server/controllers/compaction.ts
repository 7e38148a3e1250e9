import { schedule } from "node-cron";
import type { Logger } from "pino";
import { isAppError } from "#proto/error.ts";
import type { AnyObject, ObjectOf } from "#proto/kinds.ts";
import type { ListQuery, LogBounds, Store } from "#server/store/store.ts";

/** Keeps what grows by itself bounded: the log of changes, and Events. */
export interface CompactionDeps {
  readonly store: Store;
  readonly log: Pick<Logger, "info" | "error">;
  readonly keep?: Kept | undefined;
  /** In cron's notation. */
  readonly cron?: string | undefined;
  /** ms since 1970. */
  readonly now?: (() => number) | undefined;
}

export interface Kept {
  /** How far behind a watcher may be before it has to list again. */
  readonly log: LogBounds;
  readonly events: { readonly count: number; readonly ageMs: number };
}

const HOUR_MS = 3600_000;
const DEFAULT_KEPT: Kept = {
  log: { changes: 100_000, ageMs: 24 * HOUR_MS, bytes: 512 * 1024 * 1024 },
  events: { count: 10_000, ageMs: HOUR_MS },
};
const EVERY_FIVE_MINUTES = "*/5 * * * *";
const PAGE = 500;

/** Runs until the signal aborts, and ends when the run of that moment has ended. A run that fails is logged; the next one tries again. */
export async function compactionLoop(deps: CompactionDeps, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  let running = Promise.resolve();
  const run = async (): Promise<void> => {
    try {
      await compactOnce(deps, signal);
    } catch (error) {
      if (!signal.aborted) deps.log.error({ err: error }, "compaction failed");
    }
  };
  const task = schedule(deps.cron ?? EVERY_FIVE_MINUTES, () => (running = run()), { noOverlap: true, suppressMissedWarning: true });
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  await task.destroy();
  await running;
}

export async function compactOnce({ store, log, keep = DEFAULT_KEPT, now = Date.now }: CompactionDeps, signal: AbortSignal): Promise<void> {
  const events = await deleteOldEvents(store, keep.events, now(), signal);
  const revision = await store.compactable(keep.log);
  const changes = revision - store.compactedRevision;
  if (changes > 0 && !signal.aborted) await store.compact(revision);
  if (changes > 0 || events > 0) log.info({ changes, events, revision }, "compacted");
}

/** Those that are too old, then the oldest of those that are too many; returns how many went. */
async function deleteOldEvents(store: Store, keep: Kept["events"], now: number, signal: AbortSignal): Promise<number> {
  const ages: EventAge[] = [];
  for await (const event of eventsOf(store)) ages.push(ageOf(event));
  ages.sort((a, b) => a.at - b.at);
  const tooMany = Math.max(0, ages.length - keep.count);
  const doomed = ages.filter(({ at }, i) => i < tooMany || at < now - keep.ageMs);
  let deleted = 0;
  for (let from = 0; from < doomed.length && !signal.aborted; from += PAGE)
    deleted += await deleteUnchanged(store, doomed.slice(from, from + PAGE));
  return deleted;
}

interface EventAge {
  readonly namespace: string;
  readonly name: string;
  readonly revision: number;
  readonly at: number;
}

async function* eventsOf(store: Store): AsyncGenerator<ObjectOf<"Event">> {
  let after: ListQuery["after"];
  do {
    const { items, more } = await store.list({ kind: "Event", limit: PAGE, after });
    for (const item of items) if (isEvent(item)) yield item;
    const last = more ? items.at(-1) : undefined;
    after = last && { namespace: last.metadata.namespace ?? "", name: last.metadata.name };
  } while (after);
}

function isEvent(object: AnyObject): object is ObjectOf<"Event"> {
  return object.kind === "Event";
}

/** An Event without a time that one can read counts as infinitely old. */
function ageOf({ metadata, lastTimestamp, firstTimestamp }: ObjectOf<"Event">): EventAge {
  const at = Date.parse(lastTimestamp ?? firstTimestamp ?? metadata.creationTimestamp ?? "");
  const { namespace = "", name, resourceVersion } = metadata;
  return { namespace, name, revision: Number(resourceVersion), at: Number.isNaN(at) ? 0 : at };
}

/** One that was counted up or deleted since it was listed is left alone. */
async function deleteUnchanged(store: Store, events: readonly EventAge[]): Promise<number> {
  const deletions = events.map(async ({ namespace, name, revision }) => {
    try {
      await store.transact([{ op: "delete", key: { kind: "Event", namespace, name }, expect: revision }]);
      return 1;
    } catch (error) {
      if (isAppError(error, "Conflict") || isAppError(error, "NotFound")) return 0;
      throw error;
    }
  });
  return (await Promise.all(deletions)).reduce<number>((sum, one) => sum + one, 0);
}
