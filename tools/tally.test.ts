import { describe, expect, test } from "vitest";
import { closingLine, complaints, type Run, succeeded } from "./tally.ts";

const some = { passed: 3, failed: 0, skipped: 0 };
const none = { passed: 0, failed: 0, skipped: 0 };
const whole = (counts: Run["counts"]): Run => ({ counts, strayErrors: 0, partial: false });

test("the closing line adds up all projects", () => {
  const run = whole({ unit: { passed: 2, failed: 1, skipped: 4 }, e2e: { passed: 10, failed: 0, skipped: 0 } });
  expect(closingLine(run)).toBe("12 passed, 1 failed, 4 skipped");
});

test("an error outside of any test counts as failed", () => {
  const run = { ...whole({ unit: some }), strayErrors: 2 };
  expect(closingLine(run)).toBe("3 passed, 2 failed, 0 skipped");
  expect(succeeded(run)).toBe(false);
});

describe("a run in which nothing failed", () => {
  const runs: { name: string; run: Run; want: string[] }[] = [
    { name: "is a success when the kernel suites ran whole", run: whole({ unit: some, e2e: some }), want: [] },
    { name: "is a success when the kernel suites were not asked for", run: whole({ unit: some }), want: [] },
    { name: "is a success when skipped tests are not the kernel's", run: whole({ unit: { ...some, skipped: 1 }, e2e: some }), want: [] },
    { name: "fails when no test ran at all", run: whole({ unit: none }), want: ["not one test ran"] },
    { name: "fails when no kernel test ran", run: whole({ unit: some, e2e: none }), want: ["not one kernel test (e2e) ran"] },
    {
      name: "fails when one of the kernel projects ran nothing",
      run: whole({ e2e: some, "e2e-alone": none }),
      want: ["not one kernel test (e2e-alone) ran"],
    },
    {
      name: "fails when a kernel test was skipped",
      run: whole({ unit: some, e2e: { ...some, skipped: 1 } }),
      want: ["1 kernel tests (e2e) were skipped; they must run, or be deleted"],
    },
    {
      name: "may leave out kernel tests when only some tests were asked for",
      run: { ...whole({ e2e: { ...some, skipped: 7 } }), partial: true },
      want: [],
    },
    { name: "fails when the tests asked for do not exist", run: { ...whole({ e2e: none }), partial: true }, want: ["not one test ran"] },
  ];
  test.for(runs)("$name", ({ run, want }) => {
    expect(complaints(run)).toEqual(want);
    expect(succeeded(run)).toBe(want.length === 0);
  });
});
