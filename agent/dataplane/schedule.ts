/** When to take a look that is not free. */
export interface Schedule {
  /** undefined = it is not time yet. A bad result makes the next look wait twice as long. */
  whenDue<T>(look: () => Promise<T>, options?: { readonly wasBad: (result: T) => boolean }): Promise<T | undefined>;
  /** The next look is due so long from now, or at once. */
  postpone(): void;
  hurry(): void;
}

/** Of one core, and at most, unless said otherwise. */
const SHARE_OF_A_CORE = 0.001;
/** Where another program undoes what we do again and again, we do not fight it at full speed. */
const SLOWEST_INTERVAL_MS = 300_000;

/** A look is taken when it is due; the more it costs, the later the next. */
export function openSchedule(minIntervalMs: number, { shareOfACore = SHARE_OF_A_CORE } = {}): Schedule {
  let dueAt = performance.now() + minIntervalMs;
  let patience = 1;
  return {
    async whenDue(look, { wasBad } = { wasBad: () => false }) {
      const startedAt = performance.now();
      if (startedAt < dueAt) return undefined;
      dueAt = startedAt + minIntervalMs; // also when it is called off
      const result = await look();
      const endedAt = performance.now();
      patience = wasBad(result) ? patience * 2 : 1;
      const pause = Math.max(minIntervalMs, (endedAt - startedAt) / shareOfACore) * patience;
      dueAt = endedAt + Math.min(pause, SLOWEST_INTERVAL_MS);
      return result;
    },
    postpone: () => (dueAt = performance.now() + minIntervalMs),
    hurry: () => (dueAt = 0),
  };
}

export interface Check<Held> {
  readonly minIntervalMs: number;
  /** Absent = as little as for all others. */
  readonly shareOfACore?: number;
  run(held: Held, signal: AbortSignal): Promise<readonly string[]>;
}

/** The check, which finds nothing where it is not due. */
export function scheduled<Held>(check: Check<Held>): Check<Held>["run"] {
  const { minIntervalMs, shareOfACore } = check;
  const schedule = openSchedule(minIntervalMs, shareOfACore === undefined ? {} : { shareOfACore });
  return async (held, signal) => (await schedule.whenDue(() => check.run(held, signal), { wasBad: (found) => found.length > 0 })) ?? [];
}

/** What the first of them finds that finds something. */
export async function firstFound<Held>(runs: readonly Check<Held>["run"][], held: Held, signal: AbortSignal): Promise<readonly string[]> {
  for (const run of runs) {
    const found = await run(held, signal);
    if (found.length > 0) return found;
  }
  return [];
}

/** A repair is promised within a second, and takes what a whole write takes (0.8 s at 10,000 services). Of what that leaves, half is for a busy host. */
export function lookEveryMs(wholeWriteMs: number): number {
  return Math.min(Math.max((1_000 - wholeWriteMs) / 2, 150), 400);
}
