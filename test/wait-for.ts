import { setTimeout as delay } from "node:timers/promises";

export interface WaitOptions {
  what: string; // completes "waited 5000 ms for …"
  timeoutMs?: number;
  intervalMs?: number;
}

// Tries until the condition gives something truthy, and returns that. A condition that throws has not come true yet; its last error is the cause.
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  { what, timeoutMs = 5_000, intervalMs = 20 }: WaitOptions,
): Promise<NonNullable<T>> {
  const end = performance.now() + timeoutMs;
  let cause: unknown;
  do {
    try {
      const found = await condition();
      if (found) return found;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    await delay(intervalMs);
  } while (performance.now() < end);
  throw new Error(`waited ${timeoutMs} ms for ${what}`, { cause });
}
