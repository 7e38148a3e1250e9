import { sameService, type CompiledService, type ForwardingTable, type ServiceChange, type ServiceKey } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";

/** Where compile puts what the kernel must become, and the loop takes it: however much comes while the loop is busy, it is one piece of work. */

export interface TableUpdate {
  /** The revision of the state that this makes true. */
  readonly revision: number;
  /** Start over from this, and then apply the changes. */
  readonly table?: ForwardingTable | undefined;
  readonly changes: readonly ServiceChange[];
}

/** Who follows the table. Must return at once. */
export interface TableSink {
  put(update: TableUpdate): void;
}

export interface TableMailbox extends TableSink {
  /** Waits for the next; undefined when there was none in time. Throws the signal's reason when it aborts. */
  take(options: { readonly timeoutMs: number }, signal: AbortSignal): Promise<TableUpdate | undefined>;
  /** For work that is called off when something comes: a signal that then aborts, or with the other one; until it is disposed. */
  untilNext(signal: AbortSignal): { readonly signal: AbortSignal } & Disposable;
}

/** No Error: it costs no stack trace, and a mailbox is looked into several times a second. */
const ARRIVED = "something came";

export function createTableMailbox(): TableMailbox {
  let revision: number | undefined; // undefined = empty
  let table: ForwardingTable | undefined;
  let changes = new Map<ServiceKey, ServiceChange>();
  const arrivals = new EventTarget();
  const takeNow = (): TableUpdate | undefined => {
    if (revision === undefined) return undefined;
    const update = { revision, table, changes: [...changes.values()].filter(({ previous, next }) => !sameService(previous, next)) };
    revision = undefined;
    table = undefined;
    changes = new Map();
    return update;
  };
  return {
    put(update) {
      revision = update.revision;
      if (update.table) {
        table = update.table;
        changes = new Map();
      }
      for (const change of update.changes) {
        // Where two changes of one service meet, the middle was never in the kernel.
        const earlier = changes.get(change.key);
        changes.set(change.key, earlier ? { ...change, previous: earlier.previous } : change);
      }
      arrivals.dispatchEvent(new Event("arrival"));
    },
    async take({ timeoutMs }, signal) {
      signal.throwIfAborted();
      const waiting = takeNow();
      if (waiting) return waiting;
      await firstOf(arrivals, { timeoutMs }, signal);
      signal.throwIfAborted();
      return takeNow();
    },
    untilNext(signal) {
      const next = new AbortController();
      const arrived = (): void => next.abort(ARRIVED);
      const ended = (): void => next.abort(signal.reason);
      if (signal.aborted) ended();
      else signal.addEventListener("abort", ended, { once: true });
      if (revision === undefined) arrivals.addEventListener("arrival", arrived, { once: true });
      else arrived();
      return {
        signal: next.signal,
        [Symbol.dispose]() {
          signal.removeEventListener("abort", ended);
          arrivals.removeEventListener("arrival", arrived);
        },
      };
    },
  };
}

/** An arrival, the time, or the end. By hand: composed signals cost most of what an idle agent did (docs/adr/0331). */
async function firstOf(arrivals: EventTarget, { timeoutMs }: { readonly timeoutMs: number }, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      arrivals.removeEventListener("arrival", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, timeoutMs);
    arrivals.addEventListener("arrival", done);
    signal.addEventListener("abort", done);
  });
}

export function putInAll(sinks: readonly TableSink[]): TableSink {
  return {
    put: (update) => {
      for (const sink of sinks) sink.put(update);
    },
  };
}

/** What a driver of one family gets to see: changes that only concern the other one are not worth a write. */
export function onlyOf(family: IpFamily, sink: TableSink): TableSink {
  return {
    put: ({ changes, ...update }) =>
      sink.put({ ...update, changes: changes.filter(({ previous, next }) => !sameFor(family, previous, next)) }),
  };
}

function sameFor(family: IpFamily, previous: CompiledService | undefined, next: CompiledService | undefined): boolean {
  const part = (service: CompiledService | undefined): string =>
    JSON.stringify([service?.frontends.filter((frontend) => frontend.family === family) ?? [], service?.healthCheck]);
  return part(previous) === part(next);
}
