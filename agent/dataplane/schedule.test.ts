import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { firstFound, lookEveryMs, openSchedule, scheduled } from "./schedule.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

/** A look that takes so long by the clock. */
const looking =
  (takesMs: number, found: readonly string[] = []) =>
  async () => {
    vi.advanceTimersByTime(takesMs);
    return found;
  };
const wasBad = (found: readonly string[]): boolean => found.length > 0;

test("a look is taken when it is due, not before", async () => {
  const schedule = openSchedule(5_000);
  expect(await schedule.whenDue(looking(0))).toBeUndefined();
  vi.advanceTimersByTime(5_000);
  expect(await schedule.whenDue(looking(0))).toEqual([]);
  expect(await schedule.whenDue(looking(0))).toBeUndefined();
});

test("the more it costs, the later is the next: a thousandth of the time, or what was said", async () => {
  for (const [shareOfACore, pauseMs] of [
    [undefined, 100_000],
    [0.01, 10_000],
  ] as const) {
    const schedule = openSchedule(5_000, shareOfACore === undefined ? {} : { shareOfACore });
    vi.advanceTimersByTime(5_000);
    await schedule.whenDue(looking(100));
    vi.advanceTimersByTime(pauseMs - 1);
    expect(await schedule.whenDue(looking(0))).toBeUndefined();
    vi.advanceTimersByTime(1);
    expect(await schedule.whenDue(looking(0))).toEqual([]);
  }
});

test("after a bad result it waits twice as long, each time, up to five minutes", async () => {
  const schedule = openSchedule(5_000);
  for (const pauseMs of [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]) {
    vi.advanceTimersByTime(pauseMs - 1);
    expect(await schedule.whenDue(looking(0, ["gone"]), { wasBad }), String(pauseMs)).toBeUndefined();
    vi.advanceTimersByTime(1);
    expect(await schedule.whenDue(looking(0, ["gone"]), { wasBad }), String(pauseMs)).toEqual(["gone"]);
  }
});

test("it can be put off, and hurried", async () => {
  const schedule = openSchedule(5_000);
  schedule.hurry();
  expect(await schedule.whenDue(looking(0))).toEqual([]);
  vi.advanceTimersByTime(4_000);
  schedule.postpone();
  vi.advanceTimersByTime(4_000);
  expect(await schedule.whenDue(looking(0))).toBeUndefined();
});

test("of several checks the first that finds something is enough", async () => {
  const ran: string[] = [];
  const check = (name: string, found: readonly string[]) =>
    scheduled<undefined>({ minIntervalMs: 1_000, run: async () => (ran.push(name), found) });
  const checks = [check("a", []), check("b", ["gone"]), check("c", [])];
  expect(await firstFound(checks, undefined, new AbortController().signal)).toEqual([]);
  vi.advanceTimersByTime(1_000);
  expect(await firstFound(checks, undefined, new AbortController().signal)).toEqual(["gone"]);
  expect(ran).toEqual(["a", "b"]);
});

test("the longer it takes to put all rules back, the more often it is looked whether they are there", () => {
  expect([0, 100, 300, 500, 800, 5_000].map(lookEveryMs)).toEqual([400, 400, 350, 250, 150, 150]);
});
