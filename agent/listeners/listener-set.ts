import { describeError } from "#proto/error.ts";
import { createWake } from "#agent/sync/wake.ts";

/** Keeps open the listeners that are wanted. One that cannot be opened (another program has the port) is told of and tried again. */
export interface ListenerSet {
  /** By name; undefined = no longer wanted. What is open under the name already stays as it is. */
  want(name: string, open: Open | undefined): void;
  /** Until the signal aborts; then all are closed. */
  run(signal: AbortSignal): Promise<void>;
}

/** Resolves when it listens. */
export type Open = () => Promise<Listener>;

export interface Listener {
  /** Lets go of the port, and of the connections that came by it. */
  close(): void;
}

export interface ListenerSetDeps {
  /** What is wrong with it now; undefined = it is open, or no longer wanted. Told once a turn. */
  readonly onTrouble: (name: string, trouble: string | undefined) => void;
  readonly retryEveryMs?: number;
}

const RETRY_MS = 5_000;
const LATE = "late"; // a reason that costs no stack trace

export function createListenerSet({ onTrouble, retryEveryMs = RETRY_MS }: ListenerSetDeps): ListenerSet {
  const wanted = new Map<string, Open>();
  const open = new Map<string, Listener>();
  const failed = new Map<string, string>();
  /** To be looked at: the work follows the change. */
  const touched = new Set<string>();
  const wake = createWake();

  const tell = (name: string, trouble: string | undefined): void => {
    if (failed.get(name) === trouble) return;
    if (trouble === undefined) failed.delete(name);
    else failed.set(name, trouble);
    onTrouble(name, trouble);
  };

  async function settle(name: string): Promise<void> {
    const make = wanted.get(name);
    if (!make) {
      open.get(name)?.close();
      open.delete(name);
      tell(name, undefined);
    } else if (!open.has(name)) {
      try {
        open.set(name, await make());
        tell(name, undefined);
      } catch (error) {
        tell(name, describeError(error));
      }
      if (!wanted.has(name)) touched.add(name); // went meanwhile
    }
  }

  async function settleAll(signal: AbortSignal): Promise<void> {
    for (const name of touched) {
      if (signal.aborted) return;
      touched.delete(name);
      await settle(name);
    }
  }

  return {
    want(name, make) {
      if (make) wanted.set(name, make);
      else wanted.delete(name);
      touched.add(name);
      wake.ring();
    },
    async run(signal) {
      let retryAt = Infinity;
      try {
        while (!signal.aborted) {
          if (performance.now() >= retryAt) for (const name of failed.keys()) touched.add(name);
          const isRetried = performance.now() >= retryAt;
          await settleAll(signal);
          if (failed.size === 0) retryAt = Infinity;
          else if (isRetried || retryAt === Infinity) retryAt = performance.now() + retryEveryMs;
          await wakeOrLate(retryAt - performance.now(), signal);
        }
      } finally {
        for (const listener of open.values()) listener.close();
        open.clear();
        for (const name of wanted.keys()) touched.add(name); // for a run that begins anew
      }
    },
  };

  async function wakeOrLate(withinMs: number, signal: AbortSignal): Promise<void> {
    if (withinMs === Infinity) return wake.wait(signal);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(LATE), withinMs);
    await wake.wait(AbortSignal.any([signal, late.signal]));
    clearTimeout(timer);
  }
}

/** A host whose kernel has no IPv6, or none on loopback, has nobody who would ask there. */
export async function unlessNoIpv6(address: string, open: Open): Promise<Listener> {
  try {
    return await open();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if ((address === "::" || address === "::1") && (code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL")) return { close: () => undefined };
    throw error;
  }
}
