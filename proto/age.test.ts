import { expect, test } from "vitest";
import { age, humanDuration } from "./age.ts";

const [s, m, h, d] = [1000, 60_000, 3600_000, 86_400_000];

// The values of apimachinery's own test of HumanDuration, and the ages kubectl was seen to print.
test.for<[number, string]>([
  [-2 * s, "<invalid>"],
  [-1 * s, "0s"],
  [0, "0s"],
  [s - 1, "0s"],
  [45 * s, "45s"],
  [119 * s, "119s"],
  [2 * m, "2m"],
  [2 * m + 19 * s, "2m19s"],
  [10 * m - 1, "9m59s"],
  [10 * m, "10m"],
  [3 * h - 1, "179m"],
  [3 * h, "3h"],
  [3 * h + 5 * m, "3h5m"],
  [24 * h, "24h"],
  [2 * d - 1, "47h"],
  [2 * d, "2d"],
  [2 * d + h, "2d1h"],
  [8 * d, "8d"],
  [30 * d, "30d"],
  [2 * 365 * d, "2y"],
  [2 * 365 * d + 30 * d, "2y30d"],
  [8 * 365 * d, "8y"],
])("%i ms is %s", ([ms, text]) => {
  expect(humanDuration(ms)).toBe(text);
});

test("an object without a time of creation has an unknown age", () => {
  expect(age(undefined, 0)).toBe("<unknown>");
  expect(age("yesterday", 0)).toBe("<unknown>");
  expect(age("1970-01-01T00:00:00Z", 45_000)).toBe("45s");
});
