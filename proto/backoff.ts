/**
 * How long to wait before attempt `attempt` (1 = the first retry): doubles from `baseMs` to `maxMs`, with full jitter in the upper half, so that a
 * fleet that lost its server does not come back in step. `random` is in [0, 1).
 */
export function backoffMs(attempt: number, random: number, { baseMs = 100, maxMs = 5000 } = {}): number {
  const ceiling = Math.min(maxMs, baseMs * 2 ** Math.min(Math.max(attempt - 1, 0), 30));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}

/** Waits; ends early, without an error, when the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
