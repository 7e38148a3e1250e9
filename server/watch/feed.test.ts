import { expect, test } from "vitest";
import { ChangesReply } from "#proto/agents.ts";
import { parseObject } from "#proto/parse.ts";
import type { Store } from "#server/store/store.ts";
import { createFeed } from "#server/watch/feed.ts";
import { createHub } from "#server/watch/hub.ts";
import { aStoredService, serviceKey, tempStore } from "#test/temp-store.ts";

const never = new AbortController().signal;
const parse = (body: Buffer) => ChangesReply.parse(JSON.parse(body.toString()));
const shortly = { limit: 1000, timeoutMs: 20 };
const patiently = { limit: 1000, timeoutMs: 60_000 };

function setUp() {
  const store = tempStore();
  let reads = 0;
  const counted: Store = {
    ...store,
    get revision() {
      return store.revision;
    },
    changesSince: (since, options) => {
      reads++;
      return store.changesSince(since, options);
    },
  };
  const hub = createHub(store);
  return {
    store,
    hub,
    feed: createFeed({ store: counted, hub }),
    readsOfLog: () => reads,
    put: (name: string, note = "") => store.transact([{ op: "put", object: aStoredService(name, { note }) }]),
  };
}

test("a reply holds every change in order, with whole objects", async () => {
  const { store, feed, put } = setUp();
  await put("a", "x");
  await put("a", "y");
  await store.transact([{ op: "delete", key: serviceKey("a") }]);
  const reply = parse(await feed.nextChanges({ since: 0, ...shortly }, never));
  expect(reply.epoch).toBe(store.epoch);
  expect(reply.revision).toBe(3);
  expect(reply.changes.map(({ revision, type }) => `${revision} ${type}`)).toEqual(["1 PUT", "2 PUT", "3 DELETE"]);
  expect(reply.changes[1]?.object).toMatchObject({ kind: "Service", metadata: { annotations: { note: "y" }, resourceVersion: "2" } });
  expect(reply.changes[2]?.object).toMatchObject({ metadata: { resourceVersion: "3" } });
});

test("a thousand agents that wait are answered after one commit from one reading of the log", async () => {
  const { feed, hub, put, readsOfLog } = setUp();
  const polls = Array.from({ length: 1000 }, () => feed.nextChanges({ since: 0, ...patiently }, never));
  await expect.poll(() => hub.sleeping).toBe(1000);
  const before = readsOfLog();
  await put("a");
  const bodies = await Promise.all(polls);
  expect(readsOfLog() - before).toBe(1);
  expect(new Set(bodies).size).toBe(1);
});

test("an answer that is out of date is made anew, one that stops at its limit is not", async () => {
  const { feed, put, readsOfLog } = setUp();
  await put("a");
  await put("b");
  const ask = async (limit: number) => parse(await feed.nextChanges({ since: 0, limit, timeoutMs: 0 }, never)).revision;
  expect(await ask(1)).toBe(1);
  expect(await ask(5)).toBe(2);
  await put("c");
  const before = readsOfLog();
  expect(await ask(1)).toBe(1);
  expect(readsOfLog()).toBe(before);
  expect(await ask(5)).toBe(3);
});

test("held answers are bounded in bytes and number", async () => {
  const { feed, put } = setUp();
  for (let i = 0; i < 30; i++) await put(`s${i}`, "x".repeat(100_000));
  for (let since = 0; since < 30; since++)
    for (let limit = 1; limit < 30; limit++) await feed.nextChanges({ since, limit, timeoutMs: 0 }, never);
  expect(feed.memo.answers).toBeGreaterThan(5);
  expect(feed.memo.answers).toBeLessThanOrEqual(256);
  expect(feed.memo.bytes).toBeLessThanOrEqual(16 * 1024 * 1024);
});

test("kinds that hosts do not follow are left out, but the revision moves on", async () => {
  const { store, feed } = setUp();
  const event = { apiVersion: "v1", kind: "Event", metadata: { name: "e", namespace: "default" }, involvedObject: {} };
  await store.transact([{ op: "put", object: parseObject("Event", event) }]);
  expect(parse(await feed.nextChanges({ since: 0, ...shortly }, never))).toEqual({ epoch: store.epoch, revision: 1, changes: [] });
});

test("without news the poll ends empty at its time, or when its caller has gone", async () => {
  const { store, feed } = setUp();
  const empty = { epoch: store.epoch, revision: 0, changes: [] };
  expect(parse(await feed.nextChanges({ since: 0, ...shortly }, never))).toEqual(empty);
  const gone = new AbortController();
  const poll = feed.nextChanges({ since: 0, ...patiently }, gone.signal);
  gone.abort();
  expect(parse(await poll)).toEqual(empty);
});

test("what was compacted, is in the future, or is of another history is Expired", async () => {
  const { store, feed, put } = setUp();
  await put("a");
  await put("b");
  await store.compact(1);
  const ask = (since: number, epoch?: string) => feed.nextChanges({ since, epoch, ...shortly }, never);
  await expect(ask(0)).rejects.toMatchObject({ code: "Expired" });
  await expect(ask(3)).rejects.toMatchObject({ code: "Expired" });
  await expect(ask(3, store.epoch)).rejects.toMatchObject({ code: "Expired" });
  await expect(ask(2, "another")).rejects.toMatchObject({ code: "Expired" });
  expect(parse(await ask(2, store.epoch)).changes).toEqual([]);
});
