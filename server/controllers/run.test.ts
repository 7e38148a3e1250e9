import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "#test/wait-for.ts";
import { createReconciler } from "./run.ts";

function aReconciler(reconcile: (key: string) => Promise<void>) {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  return {
    stop,
    reconciler: createReconciler({ name: "test", reconcile, log: pino({ level: "silent" }), signal: stop.signal, random: () => 0 }),
  };
}

const forever = new AbortController().signal;

test("a key never runs twice at a time, and wakes while it runs are one more run", async () => {
  let running = 0;
  let runs = 0;
  let finish = (): void => undefined;
  const { reconciler } = aReconciler(async () => {
    expect(++running).toBe(1);
    runs++;
    await new Promise<void>((resolve) => (finish = resolve));
    running--;
  });
  for (let i = 1; i <= 5; i++) reconciler.wake("a", i);
  finish();
  await waitFor(() => runs === 2, { what: "the second run" });
  finish();
  await reconciler.caughtUp(5, forever);
  expect(runs).toBe(2);
});

test("caughtUp waits for what was woken by then, and not for what came later", async () => {
  const finish = new Map<string, () => void>();
  const { reconciler } = aReconciler((key) => new Promise<void>((resolve) => void finish.set(key, resolve)));
  reconciler.wake("old", 3);
  reconciler.wake("new", 9);
  let caughtUp = false;
  const wait = reconciler.caughtUp(5, forever).then(() => (caughtUp = true));
  await reconciler.caughtUp(2, forever);
  expect(caughtUp).toBe(false);
  finish.get("old")?.();
  await wait;
  expect(reconciler.pending).toBe(1);
  finish.get("new")?.();
});

test("a failure is tried again until it succeeds, and counts as not done until then", async () => {
  let attempts = 0;
  const { reconciler } = aReconciler(async () => {
    if (++attempts < 4) throw new Error("not yet");
  });
  reconciler.wake("a", 1);
  await reconciler.caughtUp(1, forever);
  expect(attempts).toBe(4);
  expect(reconciler.failures).toBe(3);
});

test("who waits may give up", async () => {
  const { reconciler } = aReconciler(() => new Promise<void>(() => undefined));
  reconciler.wake("a", 1);
  const giveUp = new AbortController();
  const waiting = reconciler.caughtUp(1, giveUp.signal);
  giveUp.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
});

test("after the signal nothing new starts, and settled waits for what runs", async () => {
  const started: string[] = [];
  let finish = (): void => undefined;
  const { reconciler, stop } = aReconciler((key) => {
    started.push(key);
    return new Promise<void>((resolve) => (finish = resolve));
  });
  reconciler.wake("a", 1);
  stop.abort();
  reconciler.wake("b", 2);
  let settled = false;
  const wait = reconciler.settled().then(() => (settled = true));
  expect(settled).toBe(false);
  finish();
  await wait;
  expect(started).toEqual(["a"]);
});
