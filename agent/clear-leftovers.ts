import { backoffMs, pause } from "#proto/backoff.ts";
import { describeError } from "#proto/error.ts";
import type { DataplaneLog } from "./dataplane/log.ts";

export interface ClearDeps {
  /** One try; what it took away. */
  readonly clear: (signal: AbortSignal) => Promise<readonly string[]>;
  readonly onTrouble: (error: unknown) => void;
  readonly log: DataplaneLog;
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Soon: as long as another mode's rules are there they translate too, by what was wanted then, without a source range that came since. */
const AGAIN = { baseMs: 1000, maxMs: 5_000 };

/** Until nothing of other modes is left, or the signal aborts. */
export async function clearUntilGone({ clear, onTrouble, log, wait = pause }: ClearDeps, signal: AbortSignal): Promise<void> {
  const isOver = (): boolean => signal.aborted;
  for (let failures = 1; !isOver(); failures++) {
    try {
      for (const what of await clear(signal)) log.info({ what }, "removed leftover");
      onTrouble(undefined);
      return;
    } catch (error) {
      if (isOver()) return;
      if (failures === 1) log.warn({ error: describeError(error) }, "cannot remove what another data plane left; trying on");
      onTrouble(error);
      await wait(backoffMs(failures, Math.random(), AGAIN), signal);
    }
  }
}
