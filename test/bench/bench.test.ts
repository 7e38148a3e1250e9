import { describe, expect, test } from "vitest";
import { median, medianRatio, percentile, rounded } from "./bench.ts";

describe("percentile", () => {
  const tens = [50, 10, 40, 20, 30];
  const cases: [number, number][] = [
    [0, 10],
    [0.2, 10],
    [0.21, 20],
    [0.5, 30],
    [0.99, 50],
    [1, 50],
  ];
  test.for(cases)("%f of five samples is %i: the nearest rank, never a value that nobody measured", ([share, want]) => {
    expect(percentile(tens, share)).toBe(want);
  });

  test("of nothing is an error, and not a figure", () => {
    expect(() => percentile([], 0.5)).toThrow("no samples");
  });

  test("leaves the samples in their order", () => {
    const samples = [3, 1, 2];
    expect(median(samples)).toBe(2);
    expect(samples).toEqual([3, 1, 2]);
  });
});

test("a ratio is that of rounds measured together: one slow round of both changes nothing", () => {
  expect(medianRatio([11, 110, 11], [10, 100, 10])).toBeCloseTo(1.1);
  expect(() => medianRatio([1, 2], [1])).toThrow("2 rounds of the one and 1");
});

test("a figure has three significant digits", () => {
  expect([0.012345, 1.2345, 123456].map(rounded)).toEqual([0.0123, 1.23, 123000]);
});
