// A UDP client for tests:  node test/fleet/udp-ask.ts --to 10.96.0.10:53 --count 20 [--same-socket] [--every-ms 50] [--timeout-ms 1000]
// Sends a datagram, waits for its answer, and prints that or "timeout" or the error's code as one line; then the next.
// With --same-socket all come from one port, as from a client that never closes: the connection that the kernel tracks stays the same.
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { parseListen } from "./listen.ts";

const { values } = parseArgs({
  options: {
    to: { type: "string", default: "127.0.0.1:53" },
    count: { type: "string", default: "1" },
    "same-socket": { type: "boolean", default: false },
    "every-ms": { type: "string", default: "0" },
    "timeout-ms": { type: "string", default: "1000" },
  },
});
const { host, port } = parseListen(values.to);

async function open(): Promise<Socket> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.connect(port, host); // only a connected socket is told of a REJECT
  await once(socket, "connect");
  return socket;
}

async function ask(socket: Socket, text: string): Promise<string> {
  try {
    const answered = once(socket, "message", { signal: AbortSignal.timeout(Number(values["timeout-ms"])) });
    socket.send(text);
    return String((await answered)[0]);
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") return "timeout";
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

let socket = await open();
for (let sent = 1; sent <= Number(values.count); sent += 1) {
  process.stdout.write(`${await ask(socket, String(sent))}\n`);
  if (!values["same-socket"]) {
    socket.close();
    socket = await open();
  }
  await delay(Number(values["every-ms"]));
}
socket.close();
