/**
 * Loops that live and die together: one that fails stops its siblings, and all have ended before this returns. A loop that ends by itself just ends.
 */
export async function runAll(outer: AbortSignal, loops: Readonly<Record<string, (signal: AbortSignal) => Promise<void>>>): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);
  const stopped = (): boolean => signal.aborted;
  const running = Object.entries(loops).map(async ([name, loop]) => {
    try {
      await loop(signal);
    } catch (cause) {
      if (stopped()) return; // an abort is how we stop, not a failure
      failed.abort();
      throw new Error(`the loop ${name} failed`, { cause });
    }
  });
  for (const outcome of await Promise.allSettled(running)) if (outcome.status === "rejected") throw outcome.reason;
}
