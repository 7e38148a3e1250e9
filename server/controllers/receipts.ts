import { Histogram, type Registry } from "prom-client";
import { FOLLOWED_KINDS, type ReceiptsReply } from "#proto/agents.ts";
import { AppError } from "#proto/error.ts";
import type { Store, StoredChange } from "../store/store.ts";
import type { Leases } from "./node-lease.ts";

/** Who holds what: hosts say in their polls and heartbeats up to which revision their kernel has followed. In memory only. */
export interface Receipts {
  /** `epoch`: the history that `applied` counts in; what belongs to another one is not taken. */
  report(node: string, applied: number, epoch?: string): void;
  appliedBy(node: string): number | undefined;
  /**
   * Waits until all that follows from the commits up to `revision` is live on every Ready host, at most `timeoutMs`; the answer says for each
   * host whether it is. Rejects with TooManyRequests when too many wait.
   */
  wait(revision: number, timeoutMs: number, signal: AbortSignal): Promise<ReceiptsReply>;
  /** The newest revision that hosts have to follow; behind is who applied less. */
  readonly followed: number;
}

export interface ReceiptsController extends Receipts {
  follow(changes: readonly StoredChange[]): void;
  forget(node: string): void;
  stop(): void;
}

interface Deps {
  readonly store: Pick<Store, "revision" | "knowsHistory" | "epoch">;
  readonly leases: Pick<Leases, "readyNodes" | "onChange">;
  readonly nodeNames: () => readonly string[];
  readonly caughtUp: (revision: number, signal: AbortSignal) => Promise<void>;
  readonly registry?: Registry | undefined;
}

interface Mark {
  readonly revision: number;
  readonly at: number;
}
interface Waiter {
  readonly target: number;
  readonly resolve: () => void;
}

const followedKinds: ReadonlySet<string> = new Set(FOLLOWED_KINDS);
const MAX_WAITERS = 1000;
/** Commits, and receipts of each host, of which the time is known. */
const KEEP_COMMITS = 2000;
const KEEP_RECEIPTS = 32;

export function createReceipts({ store, leases, nodeNames, caughtUp, registry }: Deps): ReceiptsController {
  const commits: Mark[] = [];
  const receipts = new Map<string, Mark[]>();
  const waiters = new Set<Waiter>();
  let waiting = 0;
  // Nothing is known of how far earlier commits mattered: all of them, to be safe.
  let followed = store.revision;
  const histogram = new Histogram({
    name: "fairlead_convergence_seconds",
    help: "From a commit until a host says that its kernel holds it; of the commits in one receipt, the oldest",
    buckets: [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
    registers: registry ? [registry] : [],
  });

  const appliedBy = (node: string): number | undefined => receipts.get(node)?.at(-1)?.revision;
  const isLive = (target: number): boolean => [...leases.readyNodes()].every((node) => (appliedBy(node) ?? -1) >= target);

  function check(): void {
    for (const waiter of waiters) if (isLive(waiter.target)) waiter.resolve();
  }

  function report(node: string, applied: number, epoch: string = store.epoch): void {
    if (!store.knowsHistory(epoch, applied)) return;
    const marks = receipts.get(node) ?? [];
    const before = marks.at(-1)?.revision;
    // A host that starts anew holds less than before; what it said last is true.
    if (before === applied) return;
    if (before !== undefined && applied < before) marks.length = 0;
    marks.push({ revision: applied, at: performance.now() });
    if (marks.length > KEEP_RECEIPTS) marks.shift();
    receipts.set(node, marks);
    if (before !== undefined) observe(before, applied);
    if (waiters.size > 0) check();
  }

  function observe(before: number, applied: number): void {
    const oldest = firstAtLeast(commits, before + 1);
    if (oldest && oldest.revision <= applied) histogram.observe((performance.now() - oldest.at) / 1000);
  }

  function answer(target: number): ReceiptsReply {
    const ready = leases.readyNodes();
    const committed = firstAtLeast(commits, target);
    return {
      revision: target,
      done: isLive(target),
      nodes: nodeNames().map((name) => {
        const applied = appliedBy(name);
        const receipt = firstAtLeast(receipts.get(name) ?? [], target);
        const tookMs = receipt && committed?.revision === target ? Math.max(receipt.at - committed.at, 0) : undefined;
        return { name, ready: ready.has(name), ...(applied !== undefined && { applied }), ...(tookMs !== undefined && { tookMs }) };
      }),
    };
  }

  async function waitFor(target: number, signal: AbortSignal): Promise<void> {
    if (isLive(target) || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const wake = (): void => resolve(undefined);
    const waiter = { target, resolve: wake };
    waiters.add(waiter);
    signal.addEventListener("abort", wake, { once: true });
    await promise;
    signal.removeEventListener("abort", wake);
    waiters.delete(waiter);
  }

  const stop = leases.onChange(check);
  return {
    report,
    appliedBy,
    get followed() {
      return followed;
    },
    wait: async (revision, timeoutMs, signal) => {
      if (revision > store.revision)
        throw new AppError("BadRequest", `revision ${revision} has not happened yet; the newest is ${store.revision}`);
      if (waiting >= MAX_WAITERS)
        throw new AppError("TooManyRequests", `${waiting} callers already wait for receipts`, { retryAfterSeconds: 1 });
      waiting++;
      try {
        const end = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
        try {
          await caughtUp(revision, end);
        } catch (error) {
          if (!end.aborted) throw error;
          return { ...answer(revision), done: false };
        }
        // Hosts are told of the kinds that they follow, and of those only.
        const target = followed;
        await waitFor(target, end);
        return answer(target);
      } finally {
        waiting--;
      }
    },
    follow: (changes) => {
      for (const { revision, key } of changes) if (followedKinds.has(key.kind)) followed = revision;
      const last = changes.at(-1);
      if (last && followed >= (changes[0]?.revision ?? 0)) commits.push({ revision: followed, at: performance.now() });
      if (commits.length > 2 * KEEP_COMMITS) commits.splice(0, KEEP_COMMITS);
    },
    forget: (node) => {
      receipts.delete(node);
      check();
    },
    stop,
  };
}

/** By halving; the marks' revisions rise. */
function firstAtLeast(marks: readonly Mark[], revision: number): Mark | undefined {
  let low = 0;
  let high = marks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((marks[middle]?.revision ?? 0) < revision) low = middle + 1;
    else high = middle;
  }
  return marks[low];
}
