/** One measurement with its yardstick in the same run: machines are shared and noisy, ratios and medians are what can be compared. */
export interface Bench {
  readonly name: string;
  readonly about: string;
  /** Figures by name, the unit last: `full_s`, `change_p50_ms`. `say` is for progress. */
  run(say: (text: string) => void): Promise<Record<string, number>>;
}

/** The value below which `share` (0..1) of the samples lie; the nearest rank. */
export function percentile(samples: readonly number[], share: number): number {
  if (samples.length === 0) throw new Error("no samples");
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? NaN;
}

/** Three significant digits, so that nobody reads noise as a figure. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
