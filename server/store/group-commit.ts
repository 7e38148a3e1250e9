import type Database from "better-sqlite3";
import { AppError } from "#proto/error.ts";
import { storageFailure } from "./errors.ts";

/**
 * Writers that wait at the same moment share one SQLite transaction, hence one fsync. Each has a savepoint of its own, so that the failure
 * of one leaves the others alone. SQLite is synchronous: while a batch is written, requests pile up in the sockets, and they are the next
 * batch; so the batches grow with the load and nobody waits for a timer.
 */
export interface GroupCommit {
  /** Runs `work` (synchronous SQL) inside the next batch; resolves with its result when that is on disk. */
  run<Result>(work: () => Result): Promise<Result>;
  /** Refuses new work and resolves when all that waits is done. */
  end(): Promise<void>;
}

/** State in memory that follows the transaction. */
export interface BatchState {
  /** Returns how to come back to the state of now. */
  mark(): () => void;
  /** Still inside of the transaction. */
  beforeCommit(): void;
  /** It is on disk. */
  committed(): void;
  /** The transaction failed as a whole; the database is as it was before. */
  rolledBack(): void;
}

interface Job {
  readonly run: () => void;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** Writers are told to come back rather than to wait behind so many. */
const MAX_WAITING = 10_000;
/** A batch ends after so long, so that nobody's work keeps the event loop for much longer than an fsync takes. */
const BATCH_MS = 8;

export function createGroupCommit(db: Database.Database, path: string, state: BatchState): GroupCommit {
  const waiting: Job[] = [];
  const begin = db.prepare("BEGIN IMMEDIATE");
  const commit = db.prepare("COMMIT");
  const rollback = db.prepare("ROLLBACK");
  const savepoint = db.prepare("SAVEPOINT job");
  const release = db.prepare("RELEASE job");
  const rollbackJob = db.prepare("ROLLBACK TO job");
  let scheduled = false;
  let ended: (() => void) | undefined;
  let refusing = false;

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      runBatch();
      if (waiting.length > 0) schedule();
      else ended?.();
    });
  }

  function runBatch(): void {
    const taken: Job[] = [];
    const done: Job[] = [];
    try {
      begin.run();
      const stopAt = performance.now() + BATCH_MS;
      for (let job = waiting.shift(); job !== undefined; job = performance.now() < stopAt ? waiting.shift() : undefined) {
        taken.push(job);
        if (runJob(job)) done.push(job);
      }
      state.beforeCommit();
      commit.run();
    } catch (error) {
      if (db.inTransaction) rollback.run();
      state.rolledBack();
      const failure = storageFailure(error, path);
      for (const job of taken) job.reject(failure); // those that were rejected before stay as they are
      if (taken.length === 0) waiting.shift()?.reject(failure); // the batch could not even begin
      return;
    }
    state.committed();
    for (const job of done) job.resolve();
  }

  /** Whether its writes stand. Throws when the transaction as a whole is lost. */
  function runJob(job: Job): boolean {
    const undo = state.mark();
    savepoint.run();
    try {
      job.run();
      release.run();
      return true;
    } catch (error) {
      if (!db.inTransaction) throw error; // a full disk or an I/O error makes SQLite roll back everything
      rollbackJob.run();
      release.run();
      undo();
      job.reject(storageFailure(error, path));
      return false;
    }
  }

  return {
    run: <Result>(work: () => Result) =>
      new Promise<Result>((resolve, reject) => {
        if (refusing) throw new AppError("ServiceUnavailable", "the server is stopping", { retryAfterSeconds: 1 });
        if (waiting.length >= MAX_WAITING)
          throw new AppError("TooManyRequests", `too many writes wait for the disk (${MAX_WAITING})`, { retryAfterSeconds: 1 });
        let outcome: { readonly result: Result } | undefined;
        waiting.push({
          run: () => (outcome = { result: work() }),
          resolve: () => outcome !== undefined && resolve(outcome.result),
          reject,
        });
        schedule();
      }),
    end: () => {
      refusing = true;
      return new Promise((resolve) => {
        ended = resolve;
        if (waiting.length === 0 && !scheduled) resolve();
      });
    },
  };
}
