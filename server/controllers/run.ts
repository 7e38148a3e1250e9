import type { Logger } from "pino";
import { backoffMs } from "#proto/backoff.ts";
import { isAppError } from "#proto/error.ts";
import { createDeadlines } from "./deadlines.ts";

/**
 * The reconcile loop that all controllers share: a key is woken by a commit or a deadline, and `reconcile` looks at what is true now, works
 * out what should be, and writes it with compare. A key never runs twice at a time, wakes that come while it waits are one, and a failure
 * is tried again later, at longer and longer intervals.
 */
export interface Reconciler {
  /** `revision`: of the commit that woke it; 0 for a deadline. */
  wake(key: string, revision: number): void;
  /** Resolves when nothing that a commit up to `revision` woke is still to be done; rejects when the signal aborts. */
  caughtUp(revision: number, signal: AbortSignal): Promise<void>;
  /** After the signal aborted: resolves when nothing runs any more. */
  settled(): Promise<void>;
  /** Keys that wait, run or are to be tried again. */
  readonly pending: number;
  readonly failures: number;
  /** For how long the oldest reconcile that runs has been running, in ms; 0 = none runs. */
  readonly runningMs: number;
}

export interface ReconcilerOptions {
  /** For the log. */
  readonly name: string;
  readonly reconcile: (key: string) => Promise<void>;
  readonly log: Pick<Logger, "warn">;
  /** No new work, and no retries, once it aborts. */
  readonly signal: AbortSignal;
  readonly random?: (() => number) | undefined;
}

interface Work {
  /** The oldest commit that it has to answer for. */
  revision: number;
  attempts: number;
  state: "waiting" | "running" | "delayed";
  startedAt: number;
  /** Woken while it ran: the oldest commit of those. */
  again: number | undefined;
}

interface Waiter {
  readonly revision: number;
  readonly resolve: (nothing: undefined) => void;
}

/** So many at a time: their writes share an fsync, and a burst does not fill the store's queue. */
const CONCURRENCY = 32;
/** After so long, requests get their turn: at start there is something to look at for every service. */
const TURN_MS = 10;

export function createReconciler({ name, reconcile, log, signal, random = Math.random }: ReconcilerOptions): Reconciler {
  const works = new Map<string, Work>();
  const queue: string[] = [];
  const waiters = new Set<Waiter>();
  const retries = createDeadlines({ now: () => performance.now(), onDue: (key) => enqueue(key) });
  let running = 0;
  let failures = 0;
  let head = 0;
  let turnStarted: number | undefined;
  let idle = Promise.withResolvers<undefined>();
  idle.resolve(undefined);

  signal.addEventListener("abort", () => retries.stop(), { once: true });

  function enqueue(key: string): void {
    const work = works.get(key);
    if (!work) return;
    work.state = "waiting";
    queue.push(key);
    pump();
  }

  function pump(): void {
    while (running < CONCURRENCY && head < queue.length && !signal.aborted && hasTurn()) {
      const key = queue[head++];
      const work = key === undefined ? undefined : works.get(key);
      if (key !== undefined && work) void runOne(key, work); // it never rejects
    }
    if (head === queue.length || head > 1024) {
      queue.splice(0, head);
      head = 0;
    }
  }

  function hasTurn(): boolean {
    if (turnStarted !== undefined) return performance.now() - turnStarted < TURN_MS;
    turnStarted = performance.now();
    setImmediate(() => {
      turnStarted = undefined;
      pump();
    });
    return true;
  }

  async function runOne(key: string, work: Work): Promise<void> {
    if (running++ === 0) idle = Promise.withResolvers<undefined>();
    work.state = "running";
    work.startedAt = performance.now();
    let failed = false;
    try {
      await reconcile(key);
    } catch (error) {
      failed = true;
      noteFailure(key, work, error);
    }
    if (--running === 0) idle.resolve(undefined);
    if (failed) delay(key, work);
    else finish(key, work);
    tellWaiters();
    pump();
  }

  function noteFailure(key: string, work: Work, error: unknown): void {
    work.attempts++;
    // Somebody else wrote first: looking again is the cure, not news.
    if (signal.aborted || (isAppError(error, "Conflict") && work.attempts < 5)) return;
    failures++;
    log.warn({ err: error, controller: name, key, attempt: work.attempts }, "reconcile failed; will try again");
  }

  function delay(key: string, work: Work): void {
    if (signal.aborted) return;
    work.state = "delayed";
    work.revision = Math.min(work.revision, work.again ?? Infinity);
    work.again = undefined;
    retries.set(key, performance.now() + backoffMs(work.attempts, random(), { baseMs: 10, maxMs: 5000 }));
  }

  function finish(key: string, work: Work): void {
    if (work.again === undefined) {
      works.delete(key);
      return;
    }
    work.revision = work.again;
    work.again = undefined;
    work.attempts = 0;
    enqueue(key);
  }

  function isDone(revision: number): boolean {
    for (const work of works.values()) if (work.revision <= revision) return false;
    return true;
  }

  function tellWaiters(): void {
    for (const waiter of waiters)
      if (isDone(waiter.revision)) {
        waiters.delete(waiter);
        waiter.resolve(undefined);
      }
  }

  return {
    wake: (key, revision) => {
      const work = works.get(key);
      if (!work) {
        works.set(key, { revision, attempts: 0, state: "waiting", startedAt: 0, again: undefined });
        queue.push(key);
        pump();
      } else if (work.state === "running") work.again = Math.min(work.again ?? Infinity, revision);
      else if (work.state === "delayed") {
        // Something has changed, so it may well succeed now.
        retries.delete(key);
        enqueue(key);
      }
    },
    caughtUp: async (revision, waitSignal) => {
      waitSignal.throwIfAborted();
      if (isDone(revision)) return;
      const { promise, resolve, reject } = Promise.withResolvers<undefined>();
      const waiter: Waiter = { revision, resolve };
      const give = (): void => reject(waitSignal.reason);
      waiters.add(waiter);
      waitSignal.addEventListener("abort", give, { once: true });
      try {
        await promise;
      } finally {
        waiters.delete(waiter);
        waitSignal.removeEventListener("abort", give);
      }
    },
    settled: () => idle.promise,
    get pending() {
      return works.size;
    },
    get runningMs() {
      const oldest = [...works.values()].reduce(
        (at, { state, startedAt }) => (state === "running" ? Math.min(at, startedAt) : at),
        Infinity,
      );
      return oldest === Infinity ? 0 : performance.now() - oldest;
    },
    get failures() {
      return failures;
    },
  };
}
