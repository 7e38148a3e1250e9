import type { Applied } from "./watch-loop.ts";

/** Remembers which revision the kernel holds, for receipts and for the watch that waits for it. */
export interface AppliedTracker extends Applied {
  /** From now on this is what is wanted; it is lower than before when the server's history went back (a restored backup). */
  want(revision: number): void;
  applied(revision: number): void;
}

export function createAppliedTracker(): AppliedTracker {
  let wanted = 0;
  let held: number | undefined;
  const waiters = new Set<() => void>();
  return {
    revision: () => held,
    want(revision) {
      if (revision < wanted) held = undefined; // that was in another history
      wanted = revision;
    },
    applied(revision) {
      if (revision > wanted) return; // begun before the history went back
      held = revision;
      for (const wake of [...waiters]) wake();
    },
    async reached(revision, signal) {
      const isHeld = (): boolean => held !== undefined && held >= revision;
      while (!isHeld() && !signal.aborted)
        await new Promise<void>((resolve) => {
          const done = (): void => {
            waiters.delete(done);
            signal.removeEventListener("abort", done);
            resolve();
          };
          waiters.add(done);
          signal.addEventListener("abort", done, { once: true });
        });
    },
  };
}
