import { randomUUID } from "node:crypto";
import type Database from "better-sqlite3";

/**
 * Each opening of the store starts an epoch at the revision it finds. After the restore of an older backup the file knows nothing of the
 * epochs that began since it was made, and knows of the others only up to where it ends; so an agent that says which epoch a revision came
 * from can be told whether that revision means here what it meant there.
 */
export interface Epochs {
  readonly current: string;
  knows(epoch: string, revision: number, newest: number): boolean;
  /** Inside of a transaction: forgets those that ended before `revision`, which nobody can continue from any more. */
  prune(revision: number): void;
}

/** A server that restarts without end would not be bounded by compaction. Agents of older ones list again. */
const MAX_EPOCHS = 1000;

export function openEpochs(db: Database.Database, revision: number, now: number): Epochs {
  const current = randomUUID();
  db.transaction(() => {
    db.prepare<[string, number, number]>("INSERT INTO epochs (epoch, first_revision, started_at) VALUES (?, ?, ?)").run(
      current,
      revision,
      now,
    );
    db.prepare<[number]>("DELETE FROM epochs WHERE number <= (SELECT max(number) FROM epochs) - ?").run(MAX_EPOCHS);
  }).immediate();
  const numberOf = db.prepare<[string], number>("SELECT number FROM epochs WHERE epoch = ?").pluck();
  const endOf = db.prepare<[number], number>("SELECT first_revision FROM epochs WHERE number > ? ORDER BY number LIMIT 1").pluck();
  // An epoch ended where the next began; the newest one, ours, has no next.
  const forget = db.prepare<[number]>(
    `DELETE FROM epochs WHERE number < (SELECT max(number) FROM epochs)
     AND (SELECT next.first_revision FROM epochs next WHERE next.number > epochs.number ORDER BY next.number LIMIT 1) < ?`,
  );
  return {
    current,
    knows: (epoch, at, newest) => {
      if (epoch === current) return at <= newest;
      const number = numberOf.get(epoch);
      return number !== undefined && at <= (endOf.get(number) ?? newest);
    },
    prune: (compacted) => void forget.run(compacted),
  };
}
