import { FOLLOWED_KINDS, type ReceiptsReply } from "#proto/agents.ts";
import { AppError } from "#proto/error.ts";
import { Histogram, type Registry } from "../prometheus.ts";
import type { Store, StoredChange } from "../store/store.ts";
import type { Leases } from "./node-lease.ts";
import { createReceiptWaiters } from "./receipt-waiters.ts";

/** Who holds what: hosts say in their polls and heartbeats up to which revision their kernel has followed. In memory only. */
export interface Receipts {
  report(node: string, receipt: Receipt): void;
  appliedBy(node: string): number | undefined;
  /**
   * Waits until all that follows from the commits up to `revision` is live on every Ready host, at most `timeoutMs`; the answer says for each
   * host whether it is. Rejects with TooManyRequests when too many wait.
   */
  wait(revision: number, timeoutMs: number, signal: AbortSignal): Promise<ReceiptsReply>;
  /** The newest revision that hosts have to follow; behind is who applied less. */
  readonly followed: number;
}

export interface Receipt {
  readonly applied: number;
  /** The history that `applied` counts in; what belongs to another one is not taken. Absent: this server's. */
  readonly epoch?: string | undefined;
  /** A host has one poll at a time; its heartbeats go beside them, and may come late. */
  readonly by: "poll" | "heartbeat";
}

export interface ReceiptsController extends Receipts {
  follow(changes: readonly StoredChange[]): void;
  forget(node: string): void;
  stop(): void;
}

interface Deps {
  readonly store: Pick<Store, "revision" | "knowsHistory" | "epoch">;
  readonly leases: Pick<Leases, "of" | "onChange">;
  readonly nodeNames: () => readonly string[];
  readonly caughtUp: (revision: number, signal: AbortSignal) => Promise<void>;
  readonly registry?: Registry | undefined;
}

interface Mark {
  readonly revision: number;
  readonly at: number;
}
/** What a host says of itself. */
interface Said {
  readonly marks: Mark[];
  /** Heartbeats in a row that say less than the newest mark. */
  lower: number;
}

const followedKinds: ReadonlySet<string> = new Set(FOLLOWED_KINDS);
const MAX_WAITERS = 1000;
/** Commits, and receipts of each host, of which the time is known. */
const KEEP_COMMITS = 2000;
const KEEP_RECEIPTS = 32;
/** One heartbeat that says less may have been overtaken; a host that started anew says so in each. */
const LOWER_HEARTBEATS = 3;

export function createReceipts({ store, leases, nodeNames, caughtUp, registry }: Deps): ReceiptsController {
  const commits: Mark[] = [];
  const receipts = new Map<string, Said>();
  const waiters = createReceiptWaiters();
  let waiting = 0;
  // Nothing is known of how far earlier commits mattered: all of them, to be safe.
  let followed = store.revision;
  const histogram = new Histogram({
    name: "fairlead_convergence_seconds",
    help: "From a commit until a host says that its kernel holds it; of the commits in one receipt, the oldest",
    buckets: [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
    registers: registry ? [registry] : [],
  });

  const appliedBy = (node: string): number | undefined => receipts.get(node)?.marks.at(-1)?.revision;
  const isReady = (node: string): boolean => leases.of(node)?.ready ?? false;

  function hold(node: string): void {
    waiters.hold(node, isReady(node) ? (appliedBy(node) ?? -1) : undefined);
  }

  function report(node: string, { applied, epoch = store.epoch, by }: Receipt): void {
    if (!store.knowsHistory(epoch, applied)) return;
    const said = receipts.get(node) ?? { marks: [], lower: 0 };
    const { marks } = said;
    const before = marks.at(-1)?.revision;
    if (before !== undefined && applied < before) {
      if (by === "heartbeat" && ++said.lower < LOWER_HEARTBEATS) return;
      marks.length = 0;
    }
    said.lower = 0;
    if (before === applied) return;
    marks.push({ revision: applied, at: performance.now() });
    if (marks.length > KEEP_RECEIPTS) marks.shift();
    receipts.set(node, said);
    if (before !== undefined) observe(before, applied);
    hold(node);
  }

  function observe(before: number, applied: number): void {
    const oldest = firstAtLeast(commits, before + 1);
    if (oldest && oldest.revision <= applied) histogram.observe((performance.now() - oldest.at) / 1000);
  }

  function answer(target: number): ReceiptsReply {
    const committed = firstAtLeast(commits, target);
    return {
      revision: target,
      done: waiters.isLive(target),
      nodes: nodeNames().map((name) => {
        const applied = appliedBy(name);
        const receipt = firstAtLeast(receipts.get(name)?.marks ?? [], target);
        const tookMs = receipt && committed?.revision === target ? Math.max(receipt.at - committed.at, 0) : undefined;
        return { name, ready: isReady(name), ...(applied !== undefined && { applied }), ...(tookMs !== undefined && { tookMs }) };
      }),
    };
  }

  for (const node of nodeNames()) hold(node);
  const stop = leases.onChange((nodes) => {
    for (const node of nodes) hold(node);
  });
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
        await waiters.wait(target, end);
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
      waiters.hold(node, undefined);
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
