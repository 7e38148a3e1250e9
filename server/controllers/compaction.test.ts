import { expect, onTestFinished, test } from "vitest";
import { pino } from "pino";
import { parseObject } from "#proto/parse.ts";
import type { Store } from "#server/store/store.ts";
import { compactionLoop, compactOnce } from "#server/controllers/compaction.ts";
import { aStoredService, tempStore } from "#test/temp-store.ts";

const log = pino({ level: "silent" });
const never = new AbortController().signal;
const HOUR_MS = 3600_000;
const NOW = Date.parse("2026-11-21T12:00:00Z");
const wide = { log: { changes: 1e6, ageMs: 1e12, bytes: 1e12 }, events: { count: 1e6, ageMs: HOUR_MS } };

async function putEvent(store: Store, name: string, ageMs: number): Promise<void> {
  const lastTimestamp = new Date(NOW - ageMs).toISOString();
  const event = { apiVersion: "v1", kind: "Event", metadata: { name, namespace: "default" }, involvedObject: {}, lastTimestamp };
  await store.transact([{ op: "put", object: parseObject("Event", event) }]);
}

async function eventNames(store: Store): Promise<string[]> {
  return (await store.list({ kind: "Event" })).items.map(({ metadata }) => metadata.name);
}

test("Events older than an hour go, and the oldest of those that are too many", async () => {
  const store = tempStore();
  for (const [name, ageMs] of Object.entries({ a: 1000, b: 2 * HOUR_MS, c: 2000, d: 3000, e: 500 })) await putEvent(store, name, ageMs);
  await compactOnce({ store, log, keep: wide, now: () => NOW }, never);
  expect(await eventNames(store)).toEqual(["a", "c", "d", "e"]);
  await compactOnce({ store, log, keep: { ...wide, events: { count: 2, ageMs: HOUR_MS } }, now: () => NOW }, never);
  expect(await eventNames(store)).toEqual(["a", "e"]);
});

test("thousands of Events are looked at page by page", async () => {
  const store = tempStore();
  await Promise.all(Array.from({ length: 1300 }, (_, i) => putEvent(store, `e${i}`, i < 650 ? 2 * HOUR_MS : 0)));
  await compactOnce({ store, log, keep: wide, now: () => NOW }, never);
  expect(await eventNames(store)).toHaveLength(650);
});

test("the last changes stay, objects stay, and nothing happens when nothing is over", async () => {
  const store = tempStore();
  for (let i = 0; i < 10; i++) await store.transact([{ op: "put", object: aStoredService(`s${i}`) }]);
  const keep = { ...wide, log: { ...wide.log, changes: 4 } };
  await compactOnce({ store, log, keep }, never);
  expect(store.compactedRevision).toBe(6);
  await compactOnce({ store, log, keep }, never);
  expect(store.compactedRevision).toBe(6);
  expect((await store.changesSince(6, { limit: 9 })).changes).toHaveLength(4);
  expect((await store.list({ kind: "Service" })).items).toHaveLength(10);
});

test("the loop runs by the clock and ends with its signal", async () => {
  const store = tempStore();
  await store.transact([{ op: "put", object: aStoredService("a") }]);
  const over = new AbortController();
  onTestFinished(() => over.abort());
  const keep = { ...wide, log: { ...wide.log, changes: 0 } };
  const loop = compactionLoop({ store, log, keep, cron: "* * * * * *" }, over.signal);
  await expect.poll(() => store.compactedRevision, { timeout: 5000 }).toBe(1);
  over.abort();
  await loop;
});
