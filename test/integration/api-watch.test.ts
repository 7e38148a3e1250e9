import { createInterface } from "node:readline";
import { connect } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import type { Transport } from "#proto/client-http.ts";
import { waitFor } from "#test/wait-for.ts";
import { startApi, type ApiOptions, type ApiServer } from "./api-server.ts";

const SERVICES = "/api/v1/namespaces/default/services";

interface Line {
  readonly type: string;
  readonly object: { readonly kind: string; readonly code?: number; readonly message?: string; readonly metadata: Record<string, unknown> };
}

interface Watch {
  readonly lines: Line[];
  readonly ended: Promise<void>;
  /** `TYPE name` of each line so far. */
  seen(): string[];
  until(count: number): Promise<string[]>;
  stop(): void;
}

async function watchOf(transport: Transport, query: string, path = SERVICES): Promise<Watch> {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const stream = await transport.stream({ path: `${path}?watch=true&${query}`, signal: stop.signal });
  const lines: Line[] = [];
  stream.on("error", () => undefined);
  const reader = createInterface({ input: stream })
    .on("error", () => undefined)
    .on("line", (line) => void lines.push(JSON.parse(line) as Line));
  const ended = new Promise<void>((resolve) => reader.once("close", resolve));
  const seen = (): string[] =>
    lines.map(({ type, object }) => (typeof object.metadata["name"] === "string" ? `${type} ${object.metadata["name"]}` : type));
  return {
    lines,
    ended,
    seen,
    until: async (count) => {
      await waitFor(() => lines.length >= count, { what: `${count} lines, got ${JSON.stringify(seen())}` });
      return seen();
    },
    stop: () => stop.abort(),
  };
}

const create = ({ client }: ApiServer, name: string, labels: Record<string, string> = {}): Promise<unknown> =>
  client.create(
    "Service",
    { apiVersion: "v1", kind: "Service", metadata: { name, labels }, spec: { ports: [{ port: 80 }] } },
    { namespace: "default" },
  );
const label = ({ client }: ApiServer, name: string, labels: Record<string, string | null>): Promise<unknown> =>
  client.patch("Service", name, { metadata: { labels } }, { namespace: "default" });
const remove = ({ client }: ApiServer, name: string): Promise<void> => client.delete("Service", name, { namespace: "default" });

test("without a revision it begins with all there is, then tells what happens; DELETED has a new revision", async () => {
  const server = await startApi();
  await create(server, "a");
  const watch = await watchOf(server.transport, "");
  await watch.until(1);
  await create(server, "b");
  await label(server, "a", { x: "1" });
  await remove(server, "b");
  expect(await watch.until(4)).toEqual(["ADDED a", "ADDED b", "MODIFIED a", "DELETED b"]);
  const revisions = watch.lines.map(({ object }) => Number(object.metadata["resourceVersion"]));
  expect(revisions).toEqual([revisions[0], ...[2, 1, 0].map((back) => server.store.revision - back)]);
});

test("from a revision it tells only what came after", async () => {
  const server = await startApi();
  await create(server, "a");
  const since = server.store.revision;
  await create(server, "b");
  const watch = await watchOf(server.transport, `resourceVersion=${since}`);
  expect(await watch.until(1)).toEqual(["ADDED b"]);
});

test("an object that starts to match is ADDED, one that stops is DELETED", async () => {
  const server = await startApi();
  await create(server, "a");
  const watch = await watchOf(server.transport, `labelSelector=app%3Dx&resourceVersion=${server.store.revision}`);
  await label(server, "a", { other: "1" });
  await label(server, "a", { app: "x" });
  await label(server, "a", { other: "2" });
  await label(server, "a", { app: "y" });
  await label(server, "a", { app: "x" });
  await remove(server, "a");
  expect(await watch.until(5)).toEqual(["ADDED a", "MODIFIED a", "DELETED a", "ADDED a", "DELETED a"]);
});

test("the selectors of kube-proxy select", async () => {
  const server = await startApi();
  const watch = await watchOf(
    server.transport,
    "fieldSelector=spec.clusterIP!%3DNone&labelSelector=!service.kubernetes.io%2Fservice-proxy-name",
  );
  await create(server, "other", { "service.kubernetes.io/service-proxy-name": "other" });
  await server.client.create(
    "Service",
    { apiVersion: "v1", kind: "Service", metadata: { name: "headless" }, spec: { clusterIP: "None" } },
    { namespace: "default" },
  );
  await create(server, "mine");
  expect(await watch.until(1)).toEqual(["ADDED mine"]);
});

test("headers come at once, before anything happens", async () => {
  const { transport } = await startApi();
  // The stream is there although nothing was written yet.
  const watch = await watchOf(transport, "resourceVersion=0");
  expect(watch.lines).toEqual([]);
});

test("it ends cleanly after timeoutSeconds", async () => {
  const { transport } = await startApi();
  const start = performance.now();
  const watch = await watchOf(transport, "timeoutSeconds=1");
  await watch.ended;
  expect(performance.now() - start).toBeGreaterThan(900);
  expect(watch.lines).toEqual([]);
});

test("bookmarks come to those who asked for them, with a revision to go on from", async () => {
  const server = await startApi({ bookmarkAfterMs: 50 });
  const asked = await watchOf(server.transport, "allowWatchBookmarks=true");
  const plain = await watchOf(server.transport, "");
  // Something of another kind moves the revision, and nothing else would say so.
  await server.client.create("Namespace", { apiVersion: "v1", kind: "Namespace", metadata: { name: "team" } });
  await asked.until(1);
  expect(asked.lines[0]).toEqual({
    type: "BOOKMARK",
    object: { kind: "Service", apiVersion: "v1", metadata: { resourceVersion: String(server.store.revision) } },
  });
  expect(plain.lines).toEqual([]);
});

test("the streaming list: all there is now, the mark, then what happens", async () => {
  const server = await startApi();
  await create(server, "a");
  await create(server, "b");
  await remove(server, "b");
  const watch = await watchOf(server.transport, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
  await watch.until(2);
  await create(server, "c");
  expect(await watch.until(3)).toEqual(["ADDED a", "BOOKMARK", "ADDED c"]);
  expect(watch.lines[1]?.object.metadata).toMatchObject({
    annotations: { "k8s.io/initial-events-end": "true" },
    resourceVersion: expect.stringMatching(/^\d+$/) as string,
  });
});

test.for<[string, RegExp]>([
  ["sendInitialEvents=true", /requires setting resourceVersionMatch/],
  ["resourceVersionMatch=NotOlderThan", /forbidden for watch unless sendInitialEvents/],
])("?%s is answered 422 before the stream begins", async ([query, said]) => {
  const { send } = await startApi();
  expect((await send({ path: `${SERVICES}?watch=true&${query}` })).json).toMatchObject({
    code: 422,
    message: expect.stringMatching(said) as string,
  });
});

test("a revision that was compacted, or that never was, is an ERROR line with 410, and the end", async () => {
  const server = await startApi();
  await create(server, "a");
  await create(server, "b");
  await server.store.compact(server.store.revision);
  for (const [revision, message] of [
    [1, /^too old resource version: 1 \(\d+\)$/],
    [99_999, /99999/],
  ] as const) {
    const watch = await watchOf(server.transport, `resourceVersion=${revision}`);
    await watch.ended;
    expect(watch.lines).toMatchObject([
      { type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired", message: expect.stringMatching(message) as string } },
    ]);
  }
});

test("when the server closes, watches end cleanly and at once", async () => {
  const server = await startApi();
  const watches = await Promise.all(Array.from({ length: 20 }, () => watchOf(server.transport, "")));
  const start = performance.now();
  await server.app.close();
  await Promise.all(watches.map(({ ended }) => ended));
  expect(performance.now() - start).toBeLessThan(1000);
});

test("a watch whose reader is gone is forgotten", async () => {
  const { transport, polls } = await startApi();
  const watch = await watchOf(transport, "");
  expect(polls.pending("watch")).toBe(1);
  watch.stop();
  await waitFor(() => polls.pending("watch") === 0, { what: "the watch to be forgotten" });
});

test("more watches than may wait are told to come back", async () => {
  const { transport, send } = await startApi({ limits: { total: 2, perConnection: 2 } });
  const first = await watchOf(transport, "");
  await watchOf(transport, "");
  const refused = await send({ path: `${SERVICES}?watch=true` });
  expect(refused).toMatchObject({ status: 429, headers: { "retry-after": "1" }, json: { reason: "TooManyRequests" } });
  first.stop();
  await waitFor(async () => (await send({ path: `${SERVICES}?watch=true&timeoutSeconds=1` })).status === 200, { what: "a free place" });
});

test("a reader that takes nothing is cut off, and meanwhile holds no more than a buffer", async () => {
  const options: ApiOptions = { stalledAfterMs: 300 };
  const server = await startApi(options);
  const socket = connect({ host: "127.0.0.1", port: Number(new URL(server.url).port), ca: server.ca });
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined).pause();
  socket.write(`GET ${SERVICES}?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${server.tokens.admin}\r\n\r\n`);
  await waitFor(() => server.polls.pending("watch") === 1, { what: "the watch" });
  const filler = "x".repeat(200_000);
  const create = (i: number): Promise<unknown> =>
    server.client.create(
      "Service",
      { apiVersion: "v1", kind: "Service", metadata: { name: `s${i}`, annotations: { filler } }, spec: { ports: [{ port: 80 }] } },
      { namespace: "default" },
    );
  for (let i = 0; i < 60; i++) await create(i);
  await waitFor(() => server.polls.pending("watch") === 0, { what: "the stalled reader to be cut off" });
});
