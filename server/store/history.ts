import type Database from "better-sqlite3";
import type { Logger } from "pino";
import type { BatchState } from "./group-commit.ts";
import { createRecentChanges } from "./recent-changes.ts";
import type { StoredChange } from "./store.ts";
import type { Pending } from "./transaction.ts";

type Listener = (changes: readonly StoredChange[]) => void;

interface MetaRow {
  readonly revision: number;
  readonly compacted: number;
  readonly log_bytes: number;
}
export type Meta = ReturnType<typeof openMeta>;

export function openMeta(db: Database.Database) {
  const select = db.prepare<[], MetaRow>("SELECT revision, compacted, log_bytes FROM meta");
  const update = db.prepare<[number, number]>("UPDATE meta SET revision = ?, log_bytes = ?");
  const updateCompacted = db.prepare<[number]>("UPDATE meta SET compacted = ?");
  return {
    read: (): MetaRow => {
      const row = select.get();
      if (!row) throw new Error("the store's table meta is empty: the file is damaged");
      return row;
    },
    write: (revision: number, logBytes: number) => {
      update.run(revision, logBytes);
    },
    writeCompacted: (revision: number) => {
      updateCompacted.run(revision);
    },
  };
}

export type History = ReturnType<typeof createHistory>;

/** Where the history stands in memory: `pending` runs ahead inside of a batch, the rest moves when the batch is on disk. */
export function createHistory(meta: Meta, log: Pick<Logger, "error"> | undefined) {
  const start = meta.read();
  const pending: Pending = { revision: start.revision, logBytes: start.log_bytes, written: 0, changes: [] };
  const listeners = new Set<Listener>();
  const recent = createRecentChanges(start.revision);
  let revision = start.revision;
  let compacted = start.compacted;
  let logBytes = start.log_bytes;

  function tell(changes: readonly StoredChange[]): void {
    for (const listener of listeners)
      try {
        listener(changes);
      } catch (error) {
        log?.error({ err: error, revision }, "a listener of the store threw");
      }
  }

  const batch: BatchState = {
    mark: () => {
      const marked = { revision: pending.revision, logBytes: pending.logBytes, written: pending.written };
      const count = pending.changes.length;
      return () => {
        Object.assign(pending, marked);
        pending.changes.length = count;
      };
    },
    beforeCommit: () => {
      if (pending.revision !== revision || pending.logBytes !== logBytes) meta.write(pending.revision, pending.logBytes);
    },
    committed: () => {
      const changes = pending.changes.splice(0);
      const { written } = pending;
      pending.written = 0;
      revision = pending.revision;
      logBytes = pending.logBytes;
      if (changes.length === 0) return;
      recent.push(changes, written);
      tell(changes);
    },
    rolledBack: () => {
      pending.revision = revision;
      pending.logBytes = logBytes;
      pending.written = 0;
      pending.changes.length = 0;
    },
  };

  return {
    pending,
    batch,
    recent,
    get revision() {
      return revision;
    },
    get compacted() {
      return compacted;
    },
    compactedTo: (to: number) => {
      compacted = to;
    },
    listen: (listener: Listener) => {
      const own: Listener = (changes) => listener(changes); // the same function may listen twice
      listeners.add(own);
      return () => void listeners.delete(own);
    },
  };
}
