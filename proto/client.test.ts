import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { createClient, orUndefined } from "./client.ts";
import { AppError } from "./error.ts";

const namespace = (name: string, revision: number, phase?: string) => ({
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name, resourceVersion: String(revision) },
  ...(phase !== undefined && { status: { phase } }),
});
const listOf = (items: object[], revision: number, more?: string) => ({
  apiVersion: "v1",
  kind: "NamespaceList",
  metadata: { resourceVersion: String(revision), ...(more !== undefined && { continue: more }) },
  items,
});
const line = (type: string, object: object) => `${JSON.stringify({ type, object })}\n`;
const expired = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message: "too old", reason: "Expired", code: 410 };

/** A server that answers as told, in order, and notes what it was asked. */
async function serve(...answers: ((response: ServerResponse, request: IncomingMessage) => void)[]) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method ?? ""} ${request.url ?? ""}`);
    const answer = answers.shift();
    if (answer) answer(response, request);
    // no more answers: it stays silent, as a watch without news
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = createClient({ server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: "t" });
  onTestFinished(async () => {
    await client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { client, asked };
}

const json =
  (body: unknown, status = 200, headers: Record<string, string> = {}) =>
  (response: ServerResponse): void =>
    void response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
const stream =
  (lines: string[], end: "stay" | "end" | "break") =>
  (response: ServerResponse): void => {
    response.writeHead(200, { "content-type": "application/json" }).write(lines.join(""), () => {
      if (end === "end") response.end();
      if (end === "break") response.destroy();
    });
  };

/** The events of a watch up to the one that is the last of the test. */
async function collect(client: Awaited<ReturnType<typeof serve>>["client"], last: string): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of client.watch("Namespace", { signal: AbortSignal.timeout(10_000) })) {
    seen.push(event.type === "SYNCED" ? `SYNCED ${event.resourceVersion}` : `${event.type} ${event.object.metadata.name}`);
    if (seen.at(-1) === last) break;
  }
  return seen;
}

test("a list is read in pages", async () => {
  const { client, asked } = await serve(json(listOf([namespace("a", 1)], 5, "next one")), json(listOf([namespace("b", 2)], 5)));
  const { items, resourceVersion } = await client.list("Namespace", { labelSelector: "a=b" });
  expect(items.map(({ metadata }) => metadata.name)).toEqual(["a", "b"]);
  expect(resourceVersion).toBe("5");
  expect(asked).toEqual([
    "GET /api/v1/namespaces?limit=500&labelSelector=a%3Db",
    "GET /api/v1/namespaces?limit=500&labelSelector=a%3Db&continue=next+one",
  ]);
});

test("a watch says what is there, then what happens", async () => {
  const { client, asked } = await serve(
    json(listOf([namespace("a", 1)], 5)),
    stream([line("ADDED", namespace("b", 6)), line("BOOKMARK", namespace("", 7)), line("DELETED", namespace("b", 8))], "stay"),
  );
  expect(await collect(client, "DELETED b")).toEqual(["ADDED a", "SYNCED 5", "ADDED b", "DELETED b"]);
  expect(asked[1]).toBe("GET /api/v1/namespaces?watch=true&resourceVersion=5&allowWatchBookmarks=true");
});

test("who leaves a watch early disturbs nothing", async () => {
  const { client } = await serve(json(listOf([], 5)), stream([line("ADDED", namespace("a", 6)), line("ADDED", namespace("b", 7))], "stay"));
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on("uncaughtException", note);
  onTestFinished(() => void process.off("uncaughtException", note));
  expect(await collect(client, "ADDED a")).toEqual(["SYNCED 5", "ADDED a"]);
  await new Promise((resolve) => setImmediate(resolve)); // errors of streams are emitted in the next turn
  expect(unhandled).toEqual([]);
});

test.for(["end", "break"] as const)("a watch whose connection ends by %s goes on where it was", async (end) => {
  const { client, asked } = await serve(
    json(listOf([], 5)),
    stream([line("ADDED", namespace("a", 6))], end),
    stream([line("MODIFIED", namespace("a", 9))], "stay"),
  );
  expect(await collect(client, "MODIFIED a")).toEqual(["SYNCED 5", "ADDED a", "MODIFIED a"]);
  expect(asked[2]).toContain("resourceVersion=6&");
});

test("after compaction a watch lists again, and says only what is different", async () => {
  const { client } = await serve(
    json(listOf([namespace("same", 1), namespace("gone", 2), namespace("changed", 3)], 5)),
    stream([line("ERROR", expired)], "end"),
    json(listOf([namespace("same", 1), namespace("changed", 8), namespace("new", 9)], 10)),
    stream([line("ADDED", namespace("last", 11))], "stay"),
  );
  const [first, ...seen] = [await collect(client, "ADDED last")].flatMap((all) => [all.slice(0, 4), ...all.slice(4)]);
  expect(first).toEqual(["ADDED same", "ADDED gone", "ADDED changed", "SYNCED 5"]);
  expect(seen).toEqual(["MODIFIED changed", "ADDED new", "DELETED gone", "ADDED last"]);
});

test("a watch without permission ends with that, a busy server is asked again", async () => {
  const status = (code: number, reason: string) =>
    json({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message: "no", reason, code }, code);
  const { client } = await serve(status(429, "TooManyRequests"), status(503, "ServiceUnavailable"), status(403, "Forbidden"));
  await expect(collect(client, "never")).rejects.toMatchObject({ code: "Forbidden" });
});

test("an aborted watch ends without error", async () => {
  const { client } = await serve(json(listOf([], 5)), stream([], "stay"));
  const stop = new AbortController();
  for await (const event of client.watch("Namespace", { signal: stop.signal })) if (event.type === "SYNCED") stop.abort();
  expect(stop.signal.aborted).toBe(true);
});

test("a refusal keeps the server's code, fields and hint; warnings are told", async () => {
  const causes = [{ field: "spec.x", reason: "FieldValueInvalid", message: "bad" }];
  const refusal = { kind: "Status", status: "Failure", message: "m", reason: "Invalid", code: 422, details: { causes, hint: "do" } };
  const { client } = await serve(
    json(refusal, 422),
    json(namespace("a", 1), 201, { warning: String.raw`299 - "one", 299 - "say \"two\""` }),
    json({ kind: "Status", status: "Failure", reason: "NotFound", code: 404 }, 404),
  );
  const input = { apiVersion: "v1", kind: "Namespace", metadata: { name: "a" } } as const;
  await expect(client.create("Namespace", input)).rejects.toMatchObject({ code: "Invalid", message: "m", hint: "do", causes });
  const warnings: string[] = [];
  await client.create("Namespace", input, { onWarning: (text) => warnings.push(text) });
  expect(warnings).toEqual(["one", 'say "two"']);
  expect(await orUndefined(client.get("Namespace", "a"))).toBeUndefined();
});

test("a server that does not answer in time is a Timeout, one that is not there is ServiceUnavailable", async () => {
  const { client } = await serve();
  await expect(client.transport.send({ path: "/", timeoutMs: 50 })).rejects.toMatchObject({ code: "Timeout" });
  const nobody = createClient({ server: "http://127.0.0.1:1" });
  await expect(nobody.get("Namespace", "a")).rejects.toMatchObject({ code: "ServiceUnavailable" });
  await nobody.close();
});

test("a credential never goes unencrypted beyond this machine", () => {
  expect(() => createClient({ server: "http://10.0.0.5:7443", token: "t" })).toThrow(AppError);
  expect(() => createClient({ server: "10.0.0.5" })).toThrow("is not the address of a server");
});
