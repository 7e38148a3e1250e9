import { expect, onTestFinished, test } from "vitest";
import { parseFieldSelector, parseLabelSelector } from "#proto/selector.ts";
import { createHub } from "#server/watch/hub.ts";
import { watchKind, type KindEvent, type KindWatch } from "#server/watch/watch-kind.ts";
import { aStoredService, serviceKey, tempStore } from "#test/temp-store.ts";

function setUp() {
  const store = tempStore();
  const hub = createHub(store);
  const over = new AbortController();
  onTestFinished(() => over.abort());
  return {
    store,
    over,
    put: (name: string, labels: Record<string, string> = {}, namespace = "default") =>
      store.transact([{ op: "put", object: aStoredService(name, { labels, namespace }) }]),
    watch: (options: Partial<KindWatch> = {}) => watchKind({ store, hub }, { kind: "Service", since: 0, ...options }, over.signal),
  };
}

const show = ({ type, object }: KindEvent) =>
  `${type} ${"name" in object.metadata ? object.metadata.name : ""}@${object.metadata.resourceVersion ?? ""}`;

async function take(events: AsyncGenerator<KindEvent, void>, count: number): Promise<string[]> {
  const seen: string[] = [];
  while (seen.length < count) {
    const { value } = await events.next();
    if (!value) break;
    seen.push(show(value));
  }
  return seen;
}

test("an object that starts matching is ADDED and one that stops is DELETED, as it was, with the new revision", async () => {
  const { store, put, watch } = setUp();
  await put("a", { tier: "db" });
  await put("a", { tier: "web" });
  await put("a", { tier: "web", x: "1" });
  await put("a", { tier: "db" });
  await store.transact([{ op: "delete", key: serviceKey("a") }]);
  await put("b", { tier: "web" });
  await store.transact([{ op: "delete", key: serviceKey("b") }]);
  const events = watch({ labelSelector: parseLabelSelector("tier=web") });
  expect(await take(events, 2)).toEqual(["ADDED a@2", "MODIFIED a@3"]);
  const { value: stopped } = await events.next();
  expect(stopped).toMatchObject({ type: "DELETED", object: { metadata: { labels: { tier: "web", x: "1" }, resourceVersion: "4" } } });
  expect(await take(events, 2)).toEqual(["ADDED b@6", "DELETED b@7"]);
});

test("a watch sees only its namespace and its fields, and goes on live", async () => {
  const { put, watch } = setUp();
  const live = take(watch({ namespace: "n", fieldSelector: parseFieldSelector("metadata.name=a") }), 2);
  await put("a");
  await put("b", {}, "n");
  await put("a", {}, "n");
  await put("a", { x: "1" }, "n");
  expect(await live).toEqual(["ADDED a@3", "MODIFIED a@4"]);
});

test("a quiet watch gets one bookmark when the revision has moved", async () => {
  const { put, watch } = setUp();
  await put("a");
  const events = watch({ namespace: "n", bookmarkAfterMs: 10 });
  expect(await take(events, 1)).toEqual(["BOOKMARK @1"]);
  const next = take(events, 1);
  await put("b");
  expect(await next).toEqual(["BOOKMARK @2"]);
});

test("a slow reader whose place was compacted is told Expired", async () => {
  const { store, put, watch } = setUp();
  for (let i = 0; i < 1200; i++) void put(`s${i}`);
  await put("last");
  const events = watch();
  expect(await take(events, 1)).toEqual(["ADDED s0@1"]);
  await store.compact(store.revision);
  await expect(take(events, 1200)).rejects.toMatchObject({ code: "Expired" });
});

test("a watch from the future is Expired, and an aborted one ends", async () => {
  const { watch, over } = setUp();
  await expect(take(watch({ since: 5 }), 1)).rejects.toMatchObject({ code: "Expired" });
  const waiting = take(watch(), 1);
  over.abort();
  expect(await waiting).toEqual([]);
});
