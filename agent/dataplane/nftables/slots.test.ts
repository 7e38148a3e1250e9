import fc from "fast-check";
import { expect, test } from "vitest";
import { cpuMs } from "#test/cpu-time.ts";
import { countsOf, groupsOf } from "./slots.ts";

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

/** What each backend gets of all connections, and how many slots there are. */
function sharesOf(weights: readonly number[]): { readonly shares: readonly number[]; readonly slots: number; readonly groups: number } {
  const groups = groupsOf(weights.map((weight, i) => ({ address: `10.0.${i >> 8}.${i & 255}`, port: 80, weight, isLocal: false })));
  const total = groups.reduce((all, { weight }) => all + weight, 0);
  const shares = new Map<string, number>();
  for (const { weight, slots } of groups)
    for (const { address } of slots) shares.set(address, (shares.get(address) ?? 0) + weight / total / slots.length);
  return {
    shares: weights.map((_, i) => shares.get(`10.0.${i >> 8}.${i & 255}`) ?? 0),
    slots: groups.reduce((all, { slots }) => all + slots.length, 0),
    groups: groups.length,
  };
}

const beside = (small: number, weight: number): readonly number[] => [...Array.from({ length: small }, () => 1), weight];

test.for([
  [20, 65_535],
  [30, 10_000],
  [100, 65_535],
  [1_000, 65_535],
] as const)("%i backends of weight 1 take no more than their share of one of weight %i", ([small, weight]) => {
  const { shares, slots } = sharesOf(beside(small, weight));
  expect(shares.at(-1)).toBeCloseTo(weight / (small + weight), 10);
  for (const share of shares.slice(0, -1)) expect(share).toBeCloseTo(1 / (small + weight), 10);
  expect(slots).toBe(small + 1);
});

test("two draws only where one would miss a share by a quarter of a percent of all connections", () => {
  expect(sharesOf([1, 1, 1_000]).groups).toBe(1);
  expect(sharesOf([7, 11, 13, 17]).groups).toBe(1);
  expect(sharesOf(beside(2, 65_535)).groups).toBe(1);
  expect(sharesOf(beside(100, 65_535)).groups).toBe(2);
});

const light = fc.integer({ min: 1, max: 10 });
const heavy = fc.integer({ min: 1, max: 65_535 });
const power = fc.integer({ min: 0, max: 15 }).map((bits) => 2 ** bits);

test("of any weights, every backend has its share within a quarter of a percent of all connections, and a heavy one within five of its own", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(light, heavy, power), { minLength: 1, maxLength: 1_500 }), (weights) => {
      const { shares, slots } = sharesOf(weights);
      const total = weights.reduce((a, b) => a + b, 0);
      shares.forEach((share, i) => {
        const asked = (weights[i] ?? 0) / total;
        expect(share).toBeGreaterThan(0);
        expect(Math.abs(share - asked)).toBeLessThanOrEqual(0.0025);
        if (asked >= 0.05) expect(Math.abs(share / asked - 1)).toBeLessThanOrEqual(0.05);
      });
      expect(slots).toBeLessThanOrEqual(4 * 1_024 + weights.length);
    }),
    { numRuns: 100, seed: 1 },
  );
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
