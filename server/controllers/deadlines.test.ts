import fc from "fast-check";
import { expect, onTestFinished, test, vi } from "vitest";
import { createDeadlines } from "./deadlines.ts";

function aClock() {
  vi.useFakeTimers({ now: 0 });
  onTestFinished(() => void vi.useRealTimers());
  const due: [string, number][] = [];
  const deadlines = createDeadlines({ now: Date.now, onDue: (key) => void due.push([key, Date.now()]) });
  onTestFinished(() => deadlines.stop());
  return { deadlines, due };
}

test("keys fall due in order, each once", () => {
  const { deadlines, due } = aClock();
  deadlines.set("b", 20);
  deadlines.set("a", 10);
  deadlines.set("c", 30);
  vi.advanceTimersByTime(25);
  expect(due).toEqual([
    ["a", 10],
    ["b", 20],
  ]);
  expect(deadlines.size).toBe(1);
});

test("a deadline can be put off, brought forward and called off, with one timer in all", () => {
  const { deadlines, due } = aClock();
  for (const key of ["late", "early", "never"]) deadlines.set(key, 50);
  expect(vi.getTimerCount()).toBe(1);
  deadlines.set("late", 90);
  deadlines.set("early", 10);
  deadlines.delete("never");
  vi.advanceTimersByTime(100);
  expect(due).toEqual([
    ["early", 10],
    ["late", 90],
  ]);
  expect(vi.getTimerCount()).toBe(0);
});

test("what is set anew again and again leaves nothing behind", () => {
  const { deadlines, due } = aClock();
  for (let i = 0; i < 10_000; i++) {
    deadlines.delete("a");
    deadlines.set("a", 3_600_000 - i);
    deadlines.set("b", 7_200_000 - i);
  }
  expect(deadlines.queued).toBeLessThan(100);
  vi.advanceTimersByTime(7_200_000);
  expect(due.map(([key, at]) => [key, Math.ceil(at / 3_600_000)])).toEqual([
    ["a", 1],
    ["b", 2],
  ]);
  for (let i = 0; i < 1000; i++) deadlines.set(`c${i}`, 8_000_000);
  for (let i = 0; i < 1000; i++) deadlines.delete(`c${i}`);
  expect(deadlines.queued).toBeLessThan(100);
});

test("after stop nothing falls due", () => {
  const { deadlines, due } = aClock();
  deadlines.set("a", 10);
  deadlines.stop();
  vi.advanceTimersByTime(100);
  expect(due).toEqual([]);
});

test("any mix of steps: exactly the keys that are set fall due, at the time that was set last", () => {
  const aStep = fc.record({ key: fc.constantFrom("a", "b", "c", "d"), at: fc.option(fc.nat(100)), wait: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(aStep, { maxLength: 200 }), (steps) => {
      vi.useFakeTimers({ now: 0 });
      const want = new Map<string, number>();
      const deadlines = createDeadlines({
        now: Date.now,
        onDue: (key) => {
          expect(want.get(key)).toBeLessThanOrEqual(Date.now());
          want.delete(key);
        },
      });
      for (const { key, at, wait } of steps) {
        if (at === null) {
          deadlines.delete(key);
          want.delete(key);
        } else {
          deadlines.set(key, Date.now() + at);
          want.set(key, Date.now() + at);
        }
        vi.advanceTimersByTime(wait);
        // The timer that falls on this millisecond has run; what is left lies ahead.
        vi.advanceTimersByTime(0);
        for (const left of want.values()) expect(left).toBeGreaterThan(Date.now() - 1);
        expect(deadlines.size).toBe(want.size);
      }
      vi.advanceTimersByTime(200);
      expect(want.size).toBe(0);
      expect(vi.getTimerCount()).toBe(0);
      deadlines.stop();
      vi.useRealTimers();
    }),
  );
});
