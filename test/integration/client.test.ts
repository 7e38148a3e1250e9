import { createServer, connect, type Server, type Socket } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createClient, type Client, type ListOptions } from "#proto/client.ts";
import { openTransport } from "#proto/client-http.ts";
import type { WatchEvent } from "#proto/client-watch.ts";
import type { ObjectOf } from "#proto/kinds.ts";
import { freePort } from "#test/free-port.ts";
import { waitFor } from "#test/wait-for.ts";
import { startApi, type ApiServer } from "./api-server.ts";

const HERE = { namespace: "default" };
const service = (name: string, labels: Record<string, string> = {}) => ({
  apiVersion: "v1" as const,
  kind: "Service" as const,
  metadata: { name, labels },
  spec: { ports: [{ port: 80 }] },
});

interface Seen {
  readonly events: string[];
  readonly ended: Promise<unknown>;
  stop(): void;
  until(wanted: string[]): Promise<void>;
}

function watch(client: Client, options: ListOptions = HERE): Seen {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const events: string[] = [];
  const tell = (event: WatchEvent<ObjectOf<"Service">>): string =>
    event.type === "SYNCED" ? event.type : `${event.type} ${event.object.metadata.name}`;
  const run = async (): Promise<void> => {
    for await (const event of client.watch("Service", { ...options, signal: stop.signal })) events.push(tell(event));
  };
  const ended = run().catch((error: unknown) => error);
  return {
    events,
    ended,
    stop: () => stop.abort(),
    until: async (wanted) => {
      await waitFor(() => events.length >= wanted.length, { what: `${wanted.join()}, got ${events.join()}`, timeoutMs: 15_000 });
      expect(events).toEqual(wanted);
    },
  };
}

/** Connections to the server go through it, so that a test can cut them or turn the server away. */
interface Wire {
  readonly url: string;
  cutAll(): void;
  /** Refuses new connections while true. */
  setDown(down: boolean): Promise<void>;
  target: number;
}

async function wireTo(target: number): Promise<Wire> {
  const open = new Set<Socket>();
  const port = await freePort(); // listened on again after setDown
  let server: Server;
  const wire = { target };
  const listen = async (): Promise<void> => {
    server = createServer((incoming) => {
      const outgoing = connect(wire.target, "127.0.0.1");
      for (const [a, b] of [
        [incoming, outgoing],
        [outgoing, incoming],
      ] as const) {
        open.add(a);
        a.on("error", () => undefined)
          .on("close", () => void b.destroy())
          .pipe(b);
      }
    });
    await new Promise<void>((resolve) => void server.listen(port, "127.0.0.1", resolve));
  };
  const cutAll = (): void => {
    for (const socket of open) socket.destroy();
    open.clear();
  };
  await listen();
  onTestFinished(() => {
    cutAll();
    server.close();
  });
  return Object.assign(wire, {
    url: `https://127.0.0.1:${port}`,
    cutAll,
    setDown: async (down: boolean) => {
      if (!down) return listen();
      server.close();
      cutAll();
    },
  });
}

async function wired(server: ApiServer): Promise<{ wire: Wire; client: Client }> {
  const wire = await wireTo(Number(new URL(server.url).port));
  const client = createClient({ server: wire.url, ca: server.ca, token: server.tokens.admin });
  onTestFinished(() => client.close());
  return { wire, client };
}

test("the verbs do what they say", async () => {
  const { client } = await startApi();
  const created = await client.create("Service", service("web"), HERE);
  expect(await client.get("Service", "web", HERE)).toEqual(created);
  const replaced = await client.replace("Service", { ...service("web"), spec: { ports: [{ port: 81 }] } }, HERE);
  expect(replaced.spec.ports[0]?.port).toBe(81);
  expect((await client.patch("Service", "web", { metadata: { labels: { a: "b" } } }, HERE)).metadata.labels).toEqual({ a: "b" });
  expect((await client.list("Service", { labelSelector: "a=b" })).items.map(({ metadata }) => metadata.name)).toEqual(["web"]);
  await client.delete("Service", "web", HERE);
  await expect(client.get("Service", "web", HERE)).rejects.toMatchObject({ code: "NotFound", message: 'services "web" not found' });
});

test("warnings reach the caller word by word", async () => {
  const { client } = await startApi();
  const warnings: string[] = [];
  const body = { ...service("web"), spec: { ports: [{ port: 80 }], 'selec"tör': 1 } };
  await client.create("Service", body, { ...HERE, onWarning: (text) => void warnings.push(text) });
  expect(warnings).toEqual(['unknown field "spec.selec"t?r"']);
});

test("a list takes all pages", async () => {
  const { client, store } = await startApi();
  const made = Array.from({ length: 1203 }, (_, i) => `s${String(i).padStart(4, "0")}`);
  await Promise.all(
    made.map((name) => client.create("Event", { apiVersion: "v1", kind: "Event", metadata: { name }, involvedObject: {} }, HERE)),
  );
  const { items, resourceVersion } = await client.list("Event");
  expect(items.map(({ metadata }) => metadata.name)).toEqual(made);
  expect(resourceVersion).toBe(String(store.revision));
});

test("a dry run, a precondition and a grace are passed on", async () => {
  const { client, store } = await startApi();
  await client.create("Service", service("dry"), { ...HERE, dryRun: true });
  const { metadata } = await client.create("Service", service("web"), HERE);
  const before = store.revision;
  await client.delete("Service", "web", { ...HERE, dryRun: true });
  await expect(client.delete("Service", "web", { ...HERE, resourceVersion: "1" })).rejects.toMatchObject({ code: "Conflict" });
  expect(store.revision).toBe(before);
  await client.delete("Service", "web", { ...HERE, resourceVersion: metadata.resourceVersion });
});

test("a certificate of another authority is refused, and so is plain http to another machine", async () => {
  const server = await startApi();
  const other = await startApi();
  const client = createClient({ server: server.url, ca: other.ca, token: server.tokens.admin });
  onTestFinished(() => client.close());
  await expect(client.get("Service", "web", HERE)).rejects.toMatchObject({
    code: "ServiceUnavailable",
    message: expect.stringMatching(/certificate that is not the pinned/) as string,
  });
  expect(() => openTransport({ server: "http://10.0.0.5:7443" })).toThrow(/unencrypted/);
});

test("a server that is not there is told as such, with what to do", async () => {
  const client = createClient({ server: "https://127.0.0.1:1" });
  onTestFinished(() => client.close());
  await expect(client.list("Service")).rejects.toMatchObject({
    code: "ServiceUnavailable",
    hint: expect.stringContaining("fairlead server") as string,
  });
});

test("a watch tells what is there, says so, and tells what happens", async () => {
  const { client } = await startApi();
  await client.create("Service", service("a"), HERE);
  const seen = watch(client);
  await seen.until(["ADDED a", "SYNCED"]);
  await client.create("Service", service("b"), HERE);
  await client.patch("Service", "a", { metadata: { labels: { x: "1" } } }, HERE);
  await client.delete("Service", "b", HERE);
  await seen.until(["ADDED a", "SYNCED", "ADDED b", "MODIFIED a", "DELETED b"]);
  seen.stop();
  expect(await seen.ended).toBeUndefined();
});

test("a watch survives cut connections and loses, repeats and reorders nothing", async () => {
  const server = await startApi();
  const { wire, client } = await wired(server);
  const seen = watch(client);
  await seen.until(["SYNCED"]);
  const wanted = ["SYNCED"];
  for (let i = 0; i < 30; i++) {
    await server.client.create("Service", service(`s${i}`), HERE);
    wanted.push(`ADDED s${i}`);
    if (i % 5 === 2) wire.cutAll();
  }
  await seen.until(wanted);
});

test("a watch survives a server that is away and comes back with its history", async () => {
  const dir = await mkdtemp(join(tmpdir(), "fairlead-client-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const first = await startApi({ dir });
  const { wire, client } = await wired(first);
  await first.client.create("Service", service("a"), HERE);
  const seen = watch(client);
  await seen.until(["ADDED a", "SYNCED"]);
  await first.close();
  const second = await startApi({ dir, admin: first.tokens.admin });
  await second.client.create("Service", service("b"), HERE);
  wire.target = Number(new URL(second.url).port);
  await seen.until(["ADDED a", "SYNCED", "ADDED b"]);
  await wire.setDown(true);
  await second.client.delete("Service", "a", HERE);
  await wire.setDown(false);
  await seen.until(["ADDED a", "SYNCED", "ADDED b", "DELETED a"]);
});

test("after compaction it lists again and says only what is different", async () => {
  const server = await startApi();
  const { wire, client } = await wired(server);
  for (const name of ["kept", "changed", "gone"]) await server.client.create("Service", service(name), HERE);
  const seen = watch(client);
  await seen.until(["ADDED changed", "ADDED gone", "ADDED kept", "SYNCED"]);
  await wire.setDown(true);
  await server.client.patch("Service", "changed", { metadata: { labels: { x: "1" } } }, HERE);
  await server.client.delete("Service", "gone", HERE);
  await server.client.create("Service", service("new"), HERE);
  await server.store.compact(server.store.revision);
  await wire.setDown(false);
  await seen.until(["ADDED changed", "ADDED gone", "ADDED kept", "SYNCED", "MODIFIED changed", "ADDED new", "DELETED gone"]);
});

test("a selector is kept over reconnects: what stops matching is DELETED", async () => {
  const server = await startApi();
  const { wire, client } = await wired(server);
  await server.client.create("Service", service("a", { app: "x" }), HERE);
  await server.client.create("Service", service("b"), HERE);
  const seen = watch(client, { ...HERE, labelSelector: "app=x" });
  await seen.until(["ADDED a", "SYNCED"]);
  wire.cutAll();
  await server.client.patch("Service", "a", { metadata: { labels: { app: null } } }, HERE);
  await server.client.patch("Service", "b", { metadata: { labels: { app: "x" } } }, HERE);
  await seen.until(["ADDED a", "SYNCED", "DELETED a", "ADDED b"]);
});

test("a watch that may not be, or with a bad selector, throws instead of trying for ever", async () => {
  const { client, clientOf, tokens } = await startApi();
  expect(await watch(clientOf(tokens.joiner)).ended).toMatchObject({ code: "Forbidden" });
  expect(await watch(clientOf("fla.nonsense")).ended).toMatchObject({ code: "Unauthorized" });
  expect(await watch(client, { labelSelector: "===" }).ended).toMatchObject({ code: "BadRequest" });
});

test("while the server is away it asks again with growing pauses, not in a loop", async () => {
  const server = await startApi();
  const { wire, client } = await wired(server);
  const seen = watch(client);
  await seen.until(["SYNCED"]);
  let attempts = 0;
  wire.target = await new Promise<number>((resolve) => {
    const refusing = createServer((socket) => {
      attempts++;
      socket.destroy();
    });
    onTestFinished(() => void refusing.close());
    refusing.listen(0, "127.0.0.1", () => {
      const address = refusing.address();
      resolve(typeof address === "object" && address ? address.port : 0);
    });
  });
  wire.cutAll();
  await waitFor(() => attempts >= 3, { what: "three attempts" });
  const start = performance.now();
  const before = attempts;
  await waitFor(() => attempts >= before + 2, { what: "two more attempts", timeoutMs: 15_000 });
  expect(performance.now() - start).toBeGreaterThan(300);
});
