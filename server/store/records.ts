import type Database from "better-sqlite3";
import type { GroupCommit } from "./group-commit.ts";

/**
 * Small durable state of other parts of the server, such as hashed join tokens: JSON values in buckets, in the store's own file, written
 * with the same group commit. No revisions, no history, nobody is woken.
 */
export interface Records {
  get(bucket: string, id: string): Promise<unknown>;
  /** All of a bucket, in the order of their ids. */
  list(bucket: string): Promise<readonly { readonly id: string; readonly value: unknown }[]>;
  put(bucket: string, id: string, value: unknown): Promise<void>;
  /** Whether it was there. */
  delete(bucket: string, id: string): Promise<boolean>;
  /**
   * Replaces a value by what `change` makes of it (undefined: none) and resolves with that; nothing comes between reading and writing.
   * `change` must be pure and synchronous; what it throws rejects the update, and nothing is written.
   */
  update<Next>(bucket: string, id: string, change: (current: unknown) => Next): Promise<Next>;
}

export function openRecords(db: Database.Database, commits: GroupCommit): Records {
  const find = db.prepare<[string, string], string>("SELECT value FROM records WHERE bucket = ? AND id = ?").pluck();
  const all = db.prepare<[string], { id: string; value: string }>("SELECT id, value FROM records WHERE bucket = ? ORDER BY id");
  const upsert = db.prepare<[string, string, string]>("INSERT OR REPLACE INTO records (bucket, id, value) VALUES (?, ?, ?)");
  const remove = db.prepare<[string, string]>("DELETE FROM records WHERE bucket = ? AND id = ?");
  const read = (bucket: string, id: string): unknown => {
    const text = find.get(bucket, id);
    return text === undefined ? undefined : JSON.parse(text);
  };

  return {
    get: async (bucket, id) => read(bucket, id),
    list: async (bucket) => all.all(bucket).map(({ id, value }) => ({ id, value: JSON.parse(value) as unknown })),
    put: (bucket, id, value) => {
      const text = JSON.stringify(value);
      return commits.run(() => void upsert.run(bucket, id, text));
    },
    delete: (bucket, id) => commits.run(() => remove.run(bucket, id).changes > 0),
    update: (bucket, id, change) =>
      commits.run(() => {
        const next = change(read(bucket, id));
        if (next === undefined) remove.run(bucket, id);
        else upsert.run(bucket, id, JSON.stringify(next));
        return next;
      }),
  };
}
