import fc from "fast-check";
import { expect, test } from "vitest";
import { cpuMs } from "#test/cpu-time.ts";
import { countsOf } from "./slots.ts";

test("weights are divided by what all have in common", () => {
  expect(countsOf([10, 30])).toEqual([1, 3]);
  expect(countsOf([7, 7, 7])).toEqual([1, 1, 1]);
  expect(countsOf([100, 1])).toEqual([100, 1]);
});

test("every backend has a slot, and its share within 2 % of all connections, in a bounded number of slots", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 65_535 }), { minLength: 1, maxLength: 40 }), (weights) => {
      const counts = countsOf(weights);
      const slots = counts.reduce((a, b) => a + b, 0);
      const total = weights.reduce((a, b) => a + b, 0);
      expect(slots).toBeLessThanOrEqual(1_024 + weights.length);
      counts.forEach((count, i) => {
        expect(count).toBeGreaterThanOrEqual(1);
        expect(Math.abs(count / slots - (weights[i] ?? 0) / total)).toBeLessThan(0.02);
      });
    }),
    { numRuns: 200 },
  );
});

/** Of all connections, in percent. */
function percentOfLast(weights: readonly number[]): readonly [asked: string, given: string] {
  const percent = (counts: readonly number[]): string => ((100 * (counts.at(-1) ?? 0)) / counts.reduce((a, b) => a + b, 0)).toFixed(2);
  return [percent(weights), percent(countsOf(weights))];
}

test("backends that want less than a slot have one: twenty of them cost the others less than 2 % of all connections, more of them more", () => {
  const beside = (small: number, weight: number): readonly number[] => [...Array.from({ length: small }, () => 1), weight];
  expect(percentOfLast(beside(20, 65_535))).toEqual(["99.97", "98.08"]);
  expect(percentOfLast(beside(30, 10_000))).toEqual(["99.70", "97.14"]);
  expect(percentOfLast(beside(100, 65_535))).toEqual(["99.85", "91.09"]);
});

/** As good as trying every number of slots, of which each costs a sort. */
function exhaustive(weights: readonly number[]): number {
  const total = weights.reduce((a, b) => a + b, 0);
  let best = Infinity;
  for (let slots = weights.length; slots <= 1_024 && best > 0.005; slots++) {
    const exact = weights.map((weight) => (weight / total) * slots);
    const counts = exact.map((share) => Math.max(1, Math.floor(share)));
    const left = exact.map((share, i) => ({ i, left: share - (counts[i] ?? 0) })).toSorted((a, b) => b.left - a.left || a.i - b.i);
    const free = slots - counts.reduce((a, b) => a + b, 0);
    for (const { i } of left.slice(0, Math.max(0, free))) counts[i] = (counts[i] ?? 0) + 1;
    best = Math.min(best, worstShare(counts, weights));
  }
  return best;
}

function worstShare(counts: readonly number[], weights: readonly number[]): number {
  const slots = counts.reduce((a, b) => a + b, 0);
  const total = weights.reduce((a, b) => a + b, 0);
  return Math.max(...counts.map((count, i) => Math.abs((count / slots) * (total / (weights[i] ?? 1)) - 1)));
}

test("it is as good as the best of all numbers of slots, and a change of a service does not pay for trying them", () => {
  const draw = fc.sample(fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: 100, maxLength: 100 }), { seed: 1, numRuns: 20 });
  for (const weights of draw)
    expect(worstShare(countsOf(weights), weights)).toBeLessThanOrEqual(Math.max(exhaustive(weights), 0.005) * 1.05);
  const all = cpuMs(() => draw.forEach(exhaustive));
  expect(cpuMs(() => draw.forEach(countsOf))).toBeLessThan(all / 5);
});
