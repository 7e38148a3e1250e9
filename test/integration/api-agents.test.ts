import { expect, test } from "vitest";
import { ChangesReply, SnapshotPage, tagOfFacts } from "#proto/agents.ts";
import { isAppError } from "#proto/error.ts";
import { parseObject } from "#proto/parse.ts";
import { paths } from "#proto/paths.ts";
import { createSnapshotPages } from "#server/api/snapshot-pages.ts";
import { waitFor } from "#test/wait-for.ts";
import { cluster, startApi, type ApiServer } from "./api-server.ts";

async function changes(
  { clientOf, tokens }: ApiServer,
  query: Record<string, string | number>,
  signal?: AbortSignal,
): Promise<ChangesReply> {
  const { body } = await clientOf(tokens.node).transport.send({ path: paths.changes, query, signal });
  return ChangesReply.parse(body);
}

async function snapshot({ transport }: ApiServer, limit: number): Promise<{ pages: SnapshotPage[]; items: unknown[] }> {
  const pages: SnapshotPage[] = [];
  let token: string | undefined;
  do {
    const { body } = await transport.send({ path: paths.snapshot, query: { limit, continue: token } });
    const page = SnapshotPage.parse(body);
    pages.push(page);
    token = page.continue;
  } while (token !== undefined);
  return { pages, items: pages.flatMap(({ items }) => items) };
}

const create = ({ client }: ApiServer, name: string): Promise<unknown> =>
  client.create(
    "Service",
    { apiVersion: "v1", kind: "Service", metadata: { name }, spec: { ports: [{ port: 80 }] } },
    { namespace: "default" },
  );

test("the snapshot holds every object that hosts follow, once, whatever the size of the pages", async () => {
  const server = await startApi();
  for (let i = 0; i < 7; i++) await create(server, `web-${i}`);
  const whole = await snapshot(server, 5000);
  expect(whole.pages).toHaveLength(1);
  expect(whole.pages[0]).toMatchObject({ epoch: server.store.epoch, revision: server.store.revision, cluster });
  expect(whole.items).toHaveLength(2 + 2 + 7); // namespaces, nodes, services
  for (const limit of [1, 2, 3, 4]) {
    const paged = await snapshot(server, limit);
    expect(paged.items).toEqual(whole.items);
    expect(new Set(paged.pages.map(({ revision }) => revision)).size).toBe(1);
  }
});

test("a host that goes by other facts than the server's is told to read the snapshot", async () => {
  const server = await startApi();
  const { epoch, revision } = server.store;
  const others = tagOfFacts({ ...cluster, serviceCidrs: [...cluster.serviceCidrs, "fd00:10:96::/112"] });
  await expect(changes(server, { since: revision, epoch, timeoutMs: 0, facts: others })).rejects.toSatisfy((error) =>
    isAppError(error, "Expired"),
  );
  await expect(changes(server, { since: revision, epoch, timeoutMs: 0, facts: tagOfFacts(cluster) })).resolves.toMatchObject({
    changes: [],
  });
});

test("pages of large objects end after some mebibytes, and no more of them is held than a bound", async () => {
  const server = await startApi();
  const { store } = server;
  const annotations = { note: "x".repeat(200_000) };
  await store.transact(
    Array.from({ length: 250 }, (_, i) => ({
      op: "put" as const,
      object: parseObject("Service", {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: `web-${i}`, namespace: "default", annotations },
        spec: { ports: [{ port: 80 }] },
      }),
      expect: "create" as const,
    })),
  );
  const { pages, items } = await snapshot(server, 5000);
  expect(items).toHaveLength(2 + 2 + 250);
  expect(new Set(items.map((item) => JSON.stringify(item))).size).toBe(items.length);
  for (const page of pages) expect(JSON.stringify(page.items).length).toBeLessThan(4.5 * 1024 * 1024);

  const held = createSnapshotPages({ store, cluster });
  for (const limit of [5000, 4999]) {
    let token: string | undefined;
    do {
      const body = await held.page(token, limit);
      expect(held.memo.bytes).toBeLessThan(40 * 1024 * 1024);
      token = SnapshotPage.parse(JSON.parse(body.toString())).continue;
    } while (token !== undefined);
  }
  expect(held.memo.bytes).toBeGreaterThan(20 * 1024 * 1024);
  await create(server, "small");
  await held.page(undefined, 1);
  expect(held.memo).toMatchObject({ pages: 1 });
});

test("a change wakes those who wait, within milliseconds", async () => {
  const server = await startApi();
  const { epoch } = server.store;
  const since = server.store.revision;
  const waiting = Array.from({ length: 10 }, async () => {
    const reply = await changes(server, { since, epoch, timeoutMs: 20_000 });
    return { reply, at: performance.now() };
  });
  await waitFor(() => server.polls.pending("changes") === 10, { what: "all polls to wait" });
  await create(server, "web");
  const answered = performance.now();
  for (const { reply, at } of await Promise.all(waiting)) {
    expect(reply).toMatchObject({ epoch, revision: since + 1, changes: [{ type: "PUT", kind: "Service", revision: since + 1 }] });
    expect(at - answered).toBeLessThan(500);
  }
  expect(server.polls.pending("changes")).toBe(0);
});

test("without news the answer comes empty when the time is up", async () => {
  const server = await startApi();
  const since = server.store.revision;
  const start = performance.now();
  expect(await changes(server, { since, epoch: server.store.epoch, timeoutMs: 200 })).toEqual({
    epoch: server.store.epoch,
    revision: since,
    changes: [],
  });
  expect(performance.now() - start).toBeGreaterThan(190);
});

test("a deletion is told with the last state; events are not told to hosts at all", async () => {
  const server = await startApi();
  await create(server, "web");
  const since = server.store.revision;
  await server.client.create(
    "Event",
    { apiVersion: "v1", kind: "Event", metadata: { name: "e1" }, involvedObject: { kind: "Service", name: "web" } },
    { namespace: "default" },
  );
  await server.client.delete("Service", "web", { namespace: "default" });
  const { changes: told } = await changes(server, { since, epoch: server.store.epoch, timeoutMs: 5000 });
  expect(told).toMatchObject([
    { type: "DELETE", kind: "Service", object: { metadata: { name: "web", resourceVersion: String(server.store.revision) } } },
  ]);
});

test("410 for what was compacted, for the future, and for the past of another server", async () => {
  const server = await startApi();
  await create(server, "a");
  await create(server, "b");
  const { epoch } = server.store;
  const refused = async (query: Record<string, string | number>): Promise<unknown> =>
    changes(server, { timeoutMs: 0, ...query }).catch((error: unknown) => isAppError(error) && error.code);
  expect(await refused({ since: server.store.revision + 5, epoch })).toBe("Expired");
  expect(await refused({ since: 3, epoch: "another" })).toBe("Expired");
  await server.store.compact(server.store.revision);
  expect(await refused({ since: 1, epoch })).toBe("Expired");
});

test("bad questions are refused with the parameter's name", async () => {
  const { send } = await startApi();
  for (const [query, name] of [
    ["since=-1&epoch=x", "since"],
    ["epoch=x", "since"],
    ["since=1", "epoch"],
    ["since=1&epoch=x&timeoutMs=999999999", "timeoutMs"],
    ["since=1&epoch=x&limit=0", "limit"],
  ])
    expect((await send({ path: `${paths.changes}?${query}` })).json).toMatchObject({
      code: 400,
      message: expect.stringContaining(name ?? "") as string,
    });
  expect((await send({ path: `${paths.snapshot}?continue=nonsense` })).json).toMatchObject({
    code: 400,
    message: "continue key is not valid",
  });
});

test("what a host says that it holds is taken from that host alone", async () => {
  const server = await startApi();
  const { store } = server;
  await changes(server, { since: store.revision, epoch: store.epoch, applied: 2, timeoutMs: 0 });
  await server.transport.send({ path: paths.changes, query: { since: store.revision, epoch: store.epoch, applied: 4, timeoutMs: 0 } });
  expect([...server.applied]).toEqual([["vm-1", 2]]);
});

test("polls that wait when the server closes get their answer", async () => {
  const server = await startApi();
  const { epoch, revision: since } = server.store;
  const waiting = Promise.all(Array.from({ length: 20 }, () => changes(server, { since, epoch, timeoutMs: 60_000 })));
  await waitFor(() => server.polls.pending("changes") === 20, { what: "all polls to wait" });
  const start = performance.now();
  const [replies] = await Promise.all([waiting, server.app.close()]);
  expect(performance.now() - start).toBeLessThan(1000);
  expect(replies).toEqual(Array(20).fill({ epoch, revision: since, changes: [] }));
});

test("a host whose credential is replaced is not kept waiting with the old one", async () => {
  const server = await startApi();
  const { epoch, revision: since } = server.store;
  const waiting = changes(server, { since, epoch, timeoutMs: 60_000 });
  await waitFor(() => server.polls.pending("changes") === 1, { what: "the poll to wait" });
  await server.trust.nodes.issue("vm-1", "machine-vm-1");
  await waiting;
  await expect(changes(server, { since, epoch, timeoutMs: 0 })).rejects.toMatchObject({ code: "Unauthorized" });
});
