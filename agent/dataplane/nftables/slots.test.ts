import fc from "fast-check";
import { expect, test } from "vitest";
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
