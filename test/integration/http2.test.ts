import { once } from "node:events";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { createListener, MAX_STREAMS, type ListenerTimes } from "#server/listener.ts";
import { waitFor } from "#test/wait-for.ts";
import { startApi, type ApiServer } from "./api-server.ts";
import { ask, openSession, openStream, watchOver } from "./http2-client.ts";

const SERVICES = "/api/v1/namespaces/default/services";

async function protocolFor({ url, ca }: ApiServer, offered: string[] | undefined): Promise<string | false | null> {
  const socket = connectTls({ host: "127.0.0.1", port: Number(new URL(url).port), ca, ...(offered && { ALPNProtocols: offered }) });
  onTestFinished(() => void socket.destroy());
  await once(socket, "secureConnect");
  return socket.alpnProtocol;
}

const addService = ({ client }: ApiServer, name: string, annotations: Record<string, string> = {}): Promise<unknown> =>
  client.create(
    "Service",
    { apiVersion: "v1", kind: "Service", metadata: { name, annotations }, spec: { ports: [{ port: 80 }] } },
    { namespace: "default" },
  );

test("the client's offer decides: HTTP/2 for those who know it, HTTP/1.1 for others and for those who say nothing", async () => {
  const server = await startApi();
  expect(await protocolFor(server, ["h2", "http/1.1"])).toBe("h2");
  expect(await protocolFor(server, ["http/1.1"])).toBe("http/1.1");
  expect(await protocolFor(server, undefined)).toBe(false);
  expect((await server.send({ path: SERVICES })).status).toBe(200);
});

test("objects are written, read and refused over HTTP/2 as over HTTP/1.1", async () => {
  const server = await startApi();
  const session = openSession(server);
  const bearer = server.tokens.admin;
  const body = JSON.stringify({ apiVersion: "v1", kind: "Service", metadata: { name: "web" }, spec: { ports: [{ port: 80 }] } });
  const created = await ask(session, { method: "POST", path: SERVICES, bearer, body, headers: { "content-type": "application/json" } });
  expect(created).toMatchObject({ status: 201 });
  const [over2, over1] = [await ask(session, { path: `${SERVICES}/web`, bearer }), await server.send({ path: `${SERVICES}/web` })];
  expect(over2.text).toBe(over1.text);
  expect(await ask(session, { path: `${SERVICES}/nope`, bearer })).toMatchObject({ status: 404 });
  expect(await ask(session, { path: SERVICES, bearer: "nobody" })).toMatchObject({ status: 401 });
  const large = { body: "x".repeat(4_000_000), headers: { "content-type": "application/json" } };
  expect(await ask(session, { method: "POST", path: SERVICES, bearer, ...large })).toMatchObject({ status: 413 });
});

test("watches share a connection; one that is cancelled is forgotten, and the others go on", async () => {
  const server = await startApi();
  const session = openSession(server);
  const watches = Array.from({ length: 50 }, () => watchOver(session, { path: `${SERVICES}?watch=true`, bearer: server.tokens.admin }));
  await waitFor(() => server.polls.pending("watch") === 50, { what: "the watches" });
  for (const watch of watches.slice(0, 20)) watch.cancel();
  await waitFor(() => server.polls.pending("watch") === 30, { what: "the cancelled ones to be forgotten" });
  await addService(server, "web");
  await waitFor(() => watches.slice(20).every(({ lines }) => lines.length === 1), { what: "the others to hear" });
  expect(watches.slice(0, 20).every(({ lines }) => lines.length === 0)).toBe(true);
});

test("2,000 watches over eight connections all hear, and go when their connections do", async () => {
  const server = await startApi();
  const sessions = Array.from({ length: 8 }, () => openSession(server));
  const call = { path: `${SERVICES}?watch=true`, bearer: server.tokens.admin };
  const watches = sessions.flatMap((session) => Array.from({ length: 250 }, () => watchOver(session, call)));
  await waitFor(() => server.polls.pending("watch") === watches.length, { what: "the watches", timeoutMs: 20_000 });
  await addService(server, "web");
  await waitFor(() => watches.every(({ lines }) => lines.length === 1), { what: "all to hear", timeoutMs: 20_000 });
  for (const session of sessions) session.destroy();
  await waitFor(() => server.polls.pending("watch") === 0, { what: "all to be forgotten", timeoutMs: 20_000 });
});

test("a connection may have as many watches as Kubernetes allows, and of its client's own accord no more", async () => {
  const server = await startApi();
  const session = openSession(server);
  await once(session, "remoteSettings");
  expect(session.remoteSettings.maxConcurrentStreams).toBe(MAX_STREAMS);
  const call = { path: `${SERVICES}?watch=true`, bearer: server.tokens.admin };
  const watches = Array.from({ length: MAX_STREAMS }, () => watchOver(session, call));
  await waitFor(() => server.polls.pending("watch") === MAX_STREAMS, { what: "the watches" });
  watches[0]?.cancel();
  await waitFor(() => server.polls.pending("watch") === MAX_STREAMS - 1, { what: "one to be forgotten" });
  expect((await ask(session, { path: `${SERVICES}?limit=1`, bearer: server.tokens.admin })).status).toBe(200);
});

test("a stream that nobody reads is cut off; what else is on the connection goes on", async () => {
  const server = await startApi({ stalledAfterMs: 300 });
  const session = openSession(server);
  const call = { path: `${SERVICES}?watch=true`, bearer: server.tokens.admin };
  const stalled = openStream(session, call).pause();
  stalled.on("error", () => undefined);
  const reading = watchOver(session, call);
  await waitFor(() => server.polls.pending("watch") === 2, { what: "the watches" });
  for (let i = 0; i < 5; i++) await addService(server, `s${i}`, { filler: "x".repeat(200_000) });
  await waitFor(() => server.polls.pending("watch") === 1, { what: "the stalled stream to be cut off" });
  await addService(server, "last");
  await waitFor(() => reading.lines.length === 6, { what: "the other one to hear all" });
});

test("a list of many objects does not keep others on the connection from being answered", async () => {
  const server = await startApi();
  for (let i = 0; i < 60; i++) await addService(server, `s${i}`, { filler: "x".repeat(200_000) });
  const session = openSession(server);
  const large = openStream(session, { path: SERVICES, bearer: server.tokens.admin }).pause(); // 12 MB, and its reader takes none of it
  await once(large, "response");
  expect(await ask(session, { path: `${SERVICES}/s1`, bearer: server.tokens.admin })).toMatchObject({ status: 200 });
  const watch = watchOver(session, {
    path: `${SERVICES}?watch=true&resourceVersion=${server.store.revision}`,
    bearer: server.tokens.admin,
  });
  await waitFor(() => server.polls.pending("watch") === 1, { what: "the watch" });
  await addService(server, "news");
  await waitFor(() => watch.lines.length === 1, { what: "the watch to hear" });
});

test("a server that stops says so (GOAWAY), ends watches cleanly, and at once", async () => {
  const server = await startApi();
  const session = openSession(server);
  const goaway = once(session, "goaway");
  const watches = Array.from({ length: 20 }, () => watchOver(session, { path: `${SERVICES}?watch=true`, bearer: server.tokens.admin }));
  await waitFor(() => server.polls.pending("watch") === 20, { what: "the watches" });
  const start = performance.now();
  await server.app.close();
  expect(await Promise.all(watches.map(({ ended }) => ended))).toEqual(watches.map(() => 0));
  expect((await goaway)[0]).toBe(0);
  expect(performance.now() - start).toBeLessThan(1000);
});

test("a server that stops does not wait for those who read nothing", async () => {
  const server = await startApi();
  for (let i = 0; i < 60; i++) await addService(server, `s${i}`, { filler: "x".repeat(200_000) });
  const stalled = openStream(openSession(server), { path: SERVICES, bearer: server.tokens.admin }).pause();
  stalled.on("error", () => undefined);
  await once(stalled, "response");
  const start = performance.now();
  await server.app.close();
  expect(performance.now() - start).toBeLessThan(5000);
});

test("a request whose body does not come is ended; a connection without any request, too", async () => {
  const { trust, ca } = await startApi();
  const { url } = await listen(trust.tls, { headersMs: 200, requestMs: 200, idleMs: 200 });
  const slow = openSession({ url, ca });
  const stream = slow.request({ ":method": "POST", ":path": "/" }, { endStream: false });
  stream.on("error", () => undefined);
  stream.write("{");
  await once(stream, "close");
  expect(stream.rstCode).toBe(8);
  await once(openSession({ url, ca }), "close");
});

async function listen(tls: { key: string; cert: string }, times: ListenerTimes): Promise<{ url: string }> {
  const { server } = createListener(tls, times);
  server.on("request", (request) => void request.resume());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const address = server.address();
  return { url: `https://127.0.0.1:${typeof address === "object" && address ? address.port : 0}` };
}

/** A frame as RFC 9113, section 4.1, has it. */
function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const [HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION] = [1, 3, 4, 6, 9];
const [END_STREAM, END_HEADERS] = [1, 4];
/** `:method GET`, `:scheme https`, `:path /`, by their numbers in HPACK's table. */
const GET = Buffer.from([0x82, 0x87, 0x84]);
const NAMED_FIELD = Buffer.concat([Buffer.from([0x00, 0x01]), Buffer.from("x"), Buffer.from([0x7f, 0x01]), Buffer.alloc(128, "y")]);

const attacks: Readonly<Record<string, (i: number) => Buffer>> = {
  "streams that are reset as soon as they are open (rapid reset)": (i) =>
    Buffer.concat([frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, GET), frame(RST_STREAM, 0, 2 * i + 1, Buffer.from([0, 0, 0, 8]))]),
  "headers without end (CONTINUATION)": (i) => (i === 0 ? frame(HEADERS, 0, 1, GET) : frame(CONTINUATION, 0, 1, NAMED_FIELD)),
  "pings without end": () => frame(PING, 0, 0, Buffer.alloc(8)),
  "more streams than are allowed": (i) => frame(HEADERS, END_HEADERS, 2 * i + 1, GET),
};

test.for(Object.entries(attacks))("%s end the connection, and others are answered meanwhile", async ([, nth]) => {
  const server = await startApi();
  const socket = connectTls({ host: "127.0.0.1", port: Number(new URL(server.url).port), ca: server.ca, ALPNProtocols: ["h2"] });
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  const closed = new Promise<void>((resolve) => socket.once("close", resolve));
  const sent = flood(socket, nth);
  await waitFor(async () => (await server.send({ path: `${SERVICES}?limit=1` })).status === 200, { what: "an answer to somebody else" });
  await closed;
  expect(await sent).toBeLessThan(MOST_FRAMES);
});

test("who sends settings without end and asks for nothing is cut off", async () => {
  const { trust, ca } = await startApi();
  const { url } = await listen(trust.tls, { headersMs: 500, requestMs: 500, idleMs: 500 });
  const socket = connectTls({ host: "127.0.0.1", port: Number(new URL(url).port), ca, ALPNProtocols: ["h2"] });
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  const closed = new Promise<void>((resolve) => socket.once("close", resolve));
  await flood(socket, () => frame(SETTINGS, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0])));
  socket.resume(); // or it would not see the end
  await closed;
});

const MOST_FRAMES = 100_000;

/** Until the other side has enough; reads nothing, as an attacker would not. Resolves with how many it took. */
async function flood(socket: TLSSocket, nth: (i: number) => Buffer): Promise<number> {
  socket.pause();
  socket.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(SETTINGS, 0, 0)]));
  let i = 0;
  while (i < MOST_FRAMES && !socket.destroyed) {
    const batch = Buffer.concat(Array.from({ length: 100 }, () => nth(i++)));
    await new Promise<void>((resolve) => {
      socket.once("close", resolve);
      socket.write(batch, () => {
        socket.off("close", resolve);
        resolve();
      });
    });
  }
  return i;
}
