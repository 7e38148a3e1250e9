import type { KindName } from "#proto/kinds.ts";
import type { StoredChange, StoredChanges } from "./store.ts";

/** The newest changes in memory, so that those who keep up cost the database nothing. Bounded; the log in the database has the rest. */
export interface RecentChanges {
  push(changes: readonly StoredChange[], bytes: number): void;
  /** undefined when the window does not reach back to `since`. */
  read(since: number, options: { readonly kinds: ReadonlySet<KindName> | undefined; readonly limit: number }): StoredChanges | undefined;
}

const MAX_CHANGES = 4096;
/** Of JSON text; parsed, it is about three times as much. */
const MAX_BYTES = 8 * 1024 * 1024;
/** One answer, so that encoding it does not keep the event loop for long. */
const READ_CHANGES = 1000;

export function createRecentChanges(revision: number): RecentChanges {
  /** Without gaps: the change of revision r is at r - first. Commits are kept whole, with their size. */
  let window: StoredChange[] = [];
  let commits: { readonly count: number; readonly bytes: number }[] = [];
  let first = revision + 1;
  let bytes = 0;

  return {
    push: (changes, size) => {
      for (const change of changes) window.push(change);
      commits.push({ count: changes.length, bytes: size });
      bytes += size;
      // Cut only when it is over by a half, so that the cost of moving the rest is spread over many commits.
      if (window.length < MAX_CHANGES * 1.5 && bytes < MAX_BYTES * 1.5) return;
      let drop = 0;
      let from = 0;
      while (from < commits.length && (window.length - drop > MAX_CHANGES || bytes > MAX_BYTES)) {
        drop += commits[from]?.count ?? 0;
        bytes -= commits[from]?.bytes ?? 0;
        from++;
      }
      window = window.slice(drop);
      commits = commits.slice(from);
      first += drop;
    },
    read: (since, { kinds, limit }) => {
      if (since + 1 < first) return undefined;
      const most = Math.min(limit, READ_CHANGES);
      const changes: StoredChange[] = [];
      for (let at = since + 1 - first; at < window.length; at++) {
        const change = window[at];
        if (!change || (kinds && !kinds.has(change.key.kind))) continue;
        changes.push(change);
        if (changes.length === most) return { changes, revision: change.revision };
      }
      return { changes, revision: first + window.length - 1 };
    },
  };
}
