import { expect, test } from "vitest";
import type { KindName } from "#proto/kinds.ts";
import { createHub } from "#server/watch/hub.ts";
import { aStoredService, tempStore } from "#test/temp-store.ts";

const services: ReadonlySet<KindName> = new Set(["Service"]);
const workloads: ReadonlySet<KindName> = new Set(["Workload"]);
const never = new AbortController().signal;

function setUp() {
  const store = tempStore();
  return { store, hub: createHub(store), put: (name: string) => store.transact([{ op: "put", object: aStoredService(name) }]) };
}

test("who is behind need not wait, who is not is woken by the next commit", async () => {
  const { hub, put } = setUp();
  const waiting = hub.waitPast(0, { kinds: services }, never);
  expect(hub.sleeping).toBe(1);
  await put("a");
  expect(await waiting).toBe("news");
  expect(hub.sleeping).toBe(0);
  expect(await hub.waitPast(0, { kinds: services }, never)).toBe("news");
});

test("commits of other kinds wake nobody", async () => {
  const { hub, put } = setUp();
  const waiting = hub.waitPast(0, { kinds: workloads, timeoutMs: 30 }, never);
  await put("a");
  expect(hub.sleeping).toBe(1);
  expect(await waiting).toBe("timeout");
  expect(await hub.waitPast(0, { kinds: workloads, timeoutMs: 0 }, never)).toBe("timeout");
});

test("a sleeper leaves when its signal aborts, and leaves nothing behind", async () => {
  const { hub } = setUp();
  const gone = new AbortController();
  const waiting = hub.waitPast(0, { timeoutMs: 60_000 }, gone.signal);
  gone.abort();
  expect(await waiting).toBe("stopped");
  expect(hub.sleeping).toBe(0);
  expect(await hub.waitPast(0, {}, gone.signal)).toBe("stopped");
});

test("one commit wakes a thousand sleepers", async () => {
  const { hub, put } = setUp();
  const waiting = Array.from({ length: 1000 }, () => hub.waitPast(0, { kinds: services, timeoutMs: 60_000 }, never));
  await put("a");
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(["news"]));
});

test("closing the hub lets everybody go", async () => {
  const { hub } = setUp();
  const waiting = hub.waitPast(0, {}, never);
  hub.close();
  expect(await waiting).toBe("stopped");
  expect(await hub.waitPast(0, {}, never)).toBe("stopped");
});
