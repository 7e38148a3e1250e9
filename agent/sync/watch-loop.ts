import type { Logger } from "pino";
import { ChangesReply, SnapshotPage, tagOfFacts } from "#proto/agents.ts";
import { backoffMs, pause } from "#proto/backoff.ts";
import type { Transport } from "#proto/client-http.ts";
import { AppError, describeError, isAppError } from "#proto/error.ts";
import { paths } from "#proto/paths.ts";
import { isRefused, type Contact } from "./contact.ts";
import { createDelivery, type Delivery } from "./delivery.ts";
import type { ReplicaStore } from "./replica-store.ts";
import type { Replica, Snapshot } from "./replica.ts";
import type { Touched } from "./state.ts";

/** What this host's kernel and DNS hold. */
export interface Applied {
  revision(): number | undefined;
  /** Until it is `revision` or a later one, or the signal aborts; never rejects. */
  reached(revision: number, signal: AbortSignal): Promise<void>;
}

export interface WatchDeps {
  readonly transport: Pick<Transport, "send">;
  readonly replica: Replica;
  readonly store: Pick<ReplicaStore, "append" | "rewrite">;
  /**
   * Compile, DNS, health and all others who follow the state; returns at once. Called once the server has been heard, be there news or not.
   */
  readonly follow: (touched: Touched) => void;
  readonly applied: Applied;
  readonly contact: Contact;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
}

const POLL_MS = 30_000;
/** What the server's answer may take on top of its own limit; then the connection is dead. */
const ANSWER_MS = 10_000;
/** A data plane that is stuck does not keep the others from hearing of the next change. */
const SETTLE_MS = 1000;
const SETTLED = "settled"; // a reason that costs no stack trace
const REFUSED_RETRY_MS = 30_000;
const PAGE = 1000;

/** Snapshot, then changes by long poll, for ever; whatever fails, what is held stays. */
export async function watchLoop(deps: WatchDeps, signal: AbortSignal): Promise<void> {
  const { replica, contact } = deps;
  const stopped = (): boolean => signal.aborted;
  const delivery = createDelivery(replica.state, deps.follow);
  const faults = createFaultLog(deps.log);
  let behind = replica.epoch() === undefined;
  let isFirst = true;
  for (let failures = 0; !signal.aborted;) {
    const waiting = contact.waiting(signal);
    // At first and after a failure an answer at once, news or not, so that it is known that the server is there.
    const timeoutMs = isFirst || failures > 0 ? 0 : POLL_MS;
    try {
      if (behind) await startOver(deps, delivery, signal);
      else await followOnce(deps, delivery, { waiting, timeoutMs, isFirst }, signal);
      behind = false;
      isFirst = false;
      failures = 0;
      contact.heard("watch");
    } catch (error) {
      if (stopped()) return;
      if (delivery.isOwed()) behind = true;
      else if (waiting.aborted && !isAppError(error)) continue; // the server is there again: ask anew at once
      failures++;
      if (!isAppError(error)) faults.log(error);
      if (isAppError(error, "Expired")) behind = true;
      else contact.failed("watch", error);
      await pause(retryMs(error, failures), waiting);
    }
  }
}

/** A fault of ours, with its stack; once, however often it is met again. */
function createFaultLog(log: WatchDeps["log"]): { log(error: unknown): void } {
  let last: string | undefined;
  return {
    log(error) {
      const text = describeError(error);
      if (text !== last) log.error({ err: error }, "could not follow what the server said; reading the whole state anew");
      last = text;
    },
  };
}

async function startOver({ transport, replica, store, log }: WatchDeps, delivery: Delivery, signal: AbortSignal): Promise<void> {
  const snapshot = await readSnapshot(transport, signal);
  const touched = await replica.replaceWith(snapshot);
  log.info({ revision: snapshot.revision, services: touched.services.size }, "read the whole state");
  store.rewrite();
  delivery.deliver(touched);
}

async function readSnapshot(transport: Pick<Transport, "send">, signal: AbortSignal): Promise<Snapshot> {
  const read = async (token: string | undefined): Promise<SnapshotPage> => {
    const { body } = await transport.send({ path: paths.snapshot, query: { limit: PAGE, continue: token }, signal });
    return understood(SnapshotPage.safeParse(body));
  };
  const { epoch, revision, cluster, ...first } = await read(undefined);
  async function* pages(): AsyncGenerator {
    for (let page: Pick<SnapshotPage, "items" | "continue"> = first; ;) {
      yield* page.items;
      if (page.continue === undefined) return;
      const next = await read(page.continue);
      // Pages of two runs of the server may be of two histories.
      if (next.epoch !== epoch) throw new AppError("Expired", "the server was restarted while its state was read");
      page = next;
    }
  }
  return { epoch, revision, cluster, items: pages() };
}

interface Poll {
  readonly waiting: AbortSignal;
  readonly timeoutMs: number;
  /** Those who follow have not heard yet that the server was heard. */
  readonly isFirst: boolean;
}

async function followOnce(deps: WatchDeps, delivery: Delivery, { waiting, timeoutMs, isFirst }: Poll, signal: AbortSignal): Promise<void> {
  const { transport, replica, store, applied, contact, log } = deps;
  const { body } = await transport.send({
    path: paths.changes,
    query: {
      since: replica.state.revision,
      epoch: replica.epoch(),
      facts: replica.state.cluster && tagOfFacts(replica.state.cluster),
      applied: applied.revision(),
      timeoutMs,
    },
    signal: waiting,
    timeoutMs: timeoutMs + ANSWER_MS,
  });
  const reply = understood(ChangesReply.safeParse(body));
  contact.heard("watch");
  const { revision } = reply;
  if (revision === replica.state.revision && reply.epoch === replica.epoch() && !isFirst) return;
  const { touched, step } = replica.applyChanges(reply);
  if (step) store.append(step);
  if (reply.changes.length > 0)
    log.info({ revision, changes: reply.changes.length, services: [...touched.services].slice(0, 10) }, "heard");
  delivery.deliver(touched);
  const late = new AbortController();
  await Promise.race([
    applied.reached(revision, AbortSignal.any([signal, late.signal])),
    pause(SETTLE_MS, AbortSignal.any([signal, late.signal])),
  ]);
  late.abort(SETTLED);
}

function understood<T>(result: { success: true; data: T } | { success: false; error: unknown }): T {
  if (result.success) return result.data;
  throw new AppError("InternalError", "the server's answer is not one that this agent understands", {
    cause: result.error,
    hint: "are the server and this agent of the same version?",
  });
}

function retryMs(error: unknown, failures: number): number {
  if (isRefused(error)) return REFUSED_RETRY_MS * (0.75 + 0.5 * Math.random());
  const asked = isAppError(error) ? (error.retryAfterSeconds ?? 0) * 1000 : 0;
  return Math.max(asked, backoffMs(failures, Math.random()));
}
