import type Database from "better-sqlite3";
import { kindNames, type AnyObject, type KindName } from "#proto/kinds.ts";
import { decode } from "./codec.ts";
import type { LogBounds, StoredChange, StoredChanges, StoreKey } from "./store.ts";

/** The history in the database. */
export interface ChangeLog {
  /** Inside of a transaction; returns the bytes that the log grew by. */
  append(change: StoredChange, body: string, previous: string | undefined, at: number): number;
  /** Changes after `since`, up to `newest` at most. */
  read(
    since: number,
    newest: number,
    options: { readonly kinds: ReadonlySet<KindName> | undefined; readonly limit: number },
  ): StoredChanges;
  /** Inside of a transaction: deletes the oldest few up to `revision`; returns the bytes freed, undefined when there were none left. */
  dropSome(revision: number): number | undefined;
  /** The newest revision that may go when this much is to stay. */
  compactable(
    keep: LogBounds,
    at: { readonly newest: number; readonly oldest: number; readonly bytes: number; readonly now: number },
  ): number;
}

/** One call reads at most so many rows and so much text, so that it never keeps the event loop for long; its caller comes again. */
const SCAN_REVISIONS = 5000;
const READ_BYTES = 1024 * 1024;
/** Deleted at once: about 2 ms. */
const DROP_CHANGES = 200;
const DROP_BYTES = 4 * 1024 * 1024;

interface Row {
  readonly revision: number;
  readonly type: StoredChange["type"];
  readonly kind: KindName;
  readonly namespace: string;
  readonly name: string;
  readonly bytes: number;
  readonly body: string;
  readonly previous: string | null;
}

export function openChangeLog(db: Database.Database): ChangeLog {
  const insert = db.prepare<[number, string, KindName, string, string, number, number, string, string | null]>(
    "INSERT INTO changes (revision, type, kind, namespace, name, at, bytes, body, previous) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
  );
  const select = db.prepare<[number, number, string, number], Row>(
    `SELECT revision, type, kind, namespace, name, bytes, body, previous FROM changes
     WHERE revision > ? AND revision <= ? AND kind IN (SELECT value FROM json_each(?)) ORDER BY revision LIMIT ?`,
  );
  const oldest = db.prepare<[number], { revision: number; bytes: number }>(
    "SELECT revision, bytes FROM changes WHERE revision <= ? ORDER BY revision",
  );
  const remove = db.prepare<[number]>("DELETE FROM changes WHERE revision <= ?");
  const timeOf = db.prepare<[number], number>("SELECT at FROM changes WHERE revision = ?").pluck();

  /** The last of the revisions from `low + 1` to `high` that happened before `time`; `low` if none. Times rise with the revisions. */
  function lastBefore(time: number, low: number, high: number): number {
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((timeOf.get(middle) ?? 0) < time) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The last revision that has to go so that `excess` bytes go. */
  function lastOfBytes(excess: number, low: number, high: number): number {
    if (excess <= 0) return low;
    for (const { revision, bytes } of oldest.iterate(high)) {
      excess -= bytes;
      if (excess <= 0) return revision;
    }
    return high;
  }

  return {
    append: ({ revision, type, key }, body, previous, at) => {
      const bytes = body.length + (previous?.length ?? 0);
      insert.run(revision, type, key.kind, key.namespace, key.name, at, bytes, body, previous ?? null);
      return bytes;
    },
    read: (since, newest, { kinds, limit }) => {
      const end = Math.min(newest, since + SCAN_REVISIONS);
      const changes: StoredChange[] = [];
      let bytes = 0;
      for (const row of select.iterate(since, end, JSON.stringify([...(kinds ?? kindNames)]), limit)) {
        changes.push(new LoggedChange(row));
        bytes += row.bytes;
        if (changes.length >= limit || bytes >= READ_BYTES) return { changes, revision: row.revision };
      }
      return { changes, revision: end };
    },
    dropSome: (revision) => {
      let bytes = 0;
      let count = 0;
      let last: number | undefined;
      for (const row of oldest.iterate(revision)) {
        last = row.revision;
        bytes += row.bytes;
        if (++count >= DROP_CHANGES || bytes >= DROP_BYTES) break;
      }
      if (last === undefined) return undefined;
      remove.run(last);
      return bytes;
    },
    compactable: (keep, at) =>
      Math.max(
        at.newest - keep.changes,
        lastBefore(at.now - keep.ageMs, at.oldest, at.newest),
        lastOfBytes(at.bytes - keep.bytes, at.oldest, at.newest),
      ),
  };
}

/** A change as it stands in the log; parsed only when somebody looks, as few look at `previous`. */
class LoggedChange implements StoredChange {
  readonly revision: number;
  readonly type: StoredChange["type"];
  readonly key: StoreKey;
  readonly #body: string;
  readonly #previousBody: string | null;
  #object: AnyObject | undefined;
  #previous: AnyObject | undefined;

  constructor({ revision, type, kind, namespace, name, body, previous }: Row) {
    this.revision = revision;
    this.type = type;
    this.key = { kind, namespace, name };
    this.#body = body;
    this.#previousBody = previous;
  }

  get object(): AnyObject {
    return (this.#object ??= decode(this.#body));
  }

  get previous(): AnyObject | undefined {
    if (this.#previousBody === null) return undefined;
    return (this.#previous ??= decode(this.#previousBody));
  }
}
