/** One measurement with its yardstick in the same run: machines are shared and noisy, ratios and medians are what can be compared. */
export interface Bench {
  readonly name: string;
  readonly about: string;
  /** Figures by name, the unit last: `full_s`, `change_p50_ms`. `say` is for progress. */
  run(say: (text: string) => void, options: BenchOptions): Promise<Record<string, number>>;
}

export interface BenchOptions {
  /** Fewer or more of what the bench repeats; each has its own number unless said otherwise. */
  readonly rounds?: number | undefined;
  /** Only these data planes; all that the bench knows unless said otherwise. */
  readonly modes?: readonly string[] | undefined;
}

/** The value below which `share` (0..1) of the samples lie; the nearest rank. */
export function percentile(samples: readonly number[], share: number): number {
  if (samples.length === 0) throw new Error("no samples");
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? NaN;
}

export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}

/** How much larger `a` is than `b`, round by round: what slows the machine down for a while slows both. */
export function medianRatio(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) throw new Error(`${a.length} rounds of the one and ${b.length} of the other cannot be compared`);
  return median(a.map((value, round) => value / (b[round] ?? NaN)));
}

/** Three significant digits, so that nobody reads noise as a figure. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
