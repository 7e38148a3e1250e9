import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { buffer, text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { freePort } from "#test/free-port.ts";
import { waitFor } from "#test/wait-for.ts";
import { openTcpRelay, type Place } from "./tcp-relay.ts";
import { createUdpSessions, openUdpRelay } from "./udp-relay.ts";

const HERE = "127.0.0.1";

/** A workload, and a relay to it. */
async function relayTo(serve: (socket: Socket) => void): Promise<{ at: Place; server: Place; close: () => void }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    serve(socket);
  });
  const to = await placeOf(server);
  onTestFinished(() => void server.close());
  const at = { address: HERE, port: await freePort() };
  const relay = await openTcpRelay(at, () => to);
  onTestFinished(() => relay.close());
  return { at, server: to, close: () => relay.close() };
}

async function placeOf(server: ReturnType<typeof createServer>): Promise<Place> {
  server.listen(0, HERE);
  await once(server, "listening");
  return { address: HERE, port: (server.address() as AddressInfo).port };
}

const dial = ({ address, port }: Place): Socket => connect({ host: address, port, allowHalfOpen: true });

test("a client that has said all still gets the whole answer", async () => {
  const { at } = await relayTo((socket) => void buffer(socket).then((asked) => socket.end(Buffer.concat([asked, asked]))));
  const asked = "x".repeat(1_000_000);
  const client = dial(at);
  client.end(asked);
  expect((await text(client)).length).toBe(2 * asked.length);
});

test("a server that breaks off is a connection that breaks off, and so is one that is not there", async () => {
  const { at } = await relayTo((socket) => socket.resetAndDestroy());
  await expect(text(dial(at).end("hello"))).rejects.toMatchObject({ code: "ECONNRESET" });
  const nowhere = await openTcpRelay({ address: "127.0.0.2", port: at.port }, () => undefined);
  onTestFinished(() => nowhere.close());
  await expect(text(dial({ address: "127.0.0.2", port: at.port }))).rejects.toMatchObject({ code: "ECONNRESET" });
});

test("a client that breaks off is gone for the server too, and closing ends what is open", async () => {
  let open = 0;
  const { at, close } = await relayTo((socket) => {
    open++;
    socket.once("close", () => open--);
    socket.resume();
  });
  const [first, second] = [dial(at), dial(at)];
  second.on("error", () => undefined);
  await waitFor(() => open === 2, { what: "both connections" });
  first.resetAndDestroy();
  await waitFor(() => open === 1, { what: "the first to go" });
  close();
  await waitFor(() => open === 0, { what: "the second to go" });
});

async function udpServer(): Promise<Place> {
  const socket = createSocket("udp4");
  socket.on("message", (datagram, client) => socket.send(`${datagram.toString()} from ${client.port}`, client.port, client.address));
  return bound(socket);
}

async function bound(socket: DatagramSocket): Promise<Place> {
  socket.bind(0, HERE);
  await once(socket, "listening");
  onTestFinished(() => void socket.close());
  return { address: HERE, port: socket.address().port };
}

async function ask(socket: DatagramSocket, { address, port }: Place, word: string): Promise<string> {
  socket.send(word, port, address);
  const [answer] = (await once(socket, "message", { signal: AbortSignal.timeout(2000) })) as [Buffer];
  return answer.toString();
}

test("datagrams of a client go one way, so that their answers and their flow stay together; the number of ways is limited", async () => {
  const to = await udpServer();
  const sessions = createUdpSessions(2);
  onTestFinished(() => sessions.close());
  const at = { address: HERE, port: await freePort() };
  const relay = await openUdpRelay(at, () => to, sessions);
  onTestFinished(() => relay.close());
  const clients = [createSocket("udp4"), createSocket("udp4"), createSocket("udp4")] as const;
  for (const client of clients) await bound(client);
  const [a, b, c] = clients;
  const first = await ask(a, at, "hello");
  expect(first).toMatch(/^hello from \d+$/);
  expect(await ask(a, at, "hello")).toBe(first);
  expect(await ask(b, at, "hello")).not.toBe(first);
  await ask(c, at, "hello"); // takes the place of the one that was silent longest
  expect(await ask(b, at, "hello")).toMatch(/^hello from/);
  expect(await ask(a, at, "hello")).not.toBe(first);
});

test("a port that another program has costs nothing, however often it is tried", async () => {
  const [datagrams, connections] = [createSocket("udp4"), createServer()];
  const at = await bound(datagrams);
  const taken = await placeOf(connections);
  onTestFinished(() => void connections.close());
  const sessions = createUdpSessions();
  const tries = Array.from({ length: 20 });
  const before = (await readdir("/proc/self/fd")).length;
  for (const _ of tries) await expect(openUdpRelay(at, () => undefined, sessions)).rejects.toMatchObject({ code: "EADDRINUSE" });
  for (const _ of tries) await expect(openTcpRelay(taken, () => undefined)).rejects.toMatchObject({ code: "EADDRINUSE" });
  await waitFor(async () => (await readdir("/proc/self/fd")).length < before + 5, { what: "the descriptors to be given back" });
});
