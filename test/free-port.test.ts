import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { bindBoth, freePort } from "./free-port.ts";

test("a port that somebody has over UDP or over TCP is not taken: the next one is", async () => {
  const [overUdp, overTcp, free] = [await freePort(), await freePort(), await freePort()];
  const [datagrams, connections, server] = [createSocket("udp4"), createServer(), createServer()];
  await once(datagrams.bind(overUdp, "127.0.0.1"), "listening");
  await once(connections.listen(overTcp, "127.0.0.1"), "listening");
  const wanted = [overUdp, overTcp, free];
  const socket = await bindBoth(server, "127.0.0.1", () => wanted.shift() ?? 0);
  onTestFinished(() => {
    for (const one of [datagrams, connections, socket, server]) one.close();
  });
  expect(socket.address().port).toBe(free);
  expect(server.address()).toMatchObject({ port: free });
  expect(wanted).toEqual([]);
});

test("where none is free, it ends", async () => {
  const connections = createServer();
  onTestFinished(() => void connections.close());
  const taken = await freePort();
  await once(connections.listen(taken, "127.0.0.1"), "listening");
  await expect(bindBoth(createServer(), "127.0.0.1", () => taken)).rejects.toMatchObject({ code: "EADDRINUSE" });
});
