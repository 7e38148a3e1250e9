import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { ListenAddress } from "#agent/dns/listen.ts";

/** Messages to a name server as they are, and what comes back. */

const LATE_MS = 5000;

/** undefined = no answer within `waitMs`. */
export async function askUdp({ address, port }: ListenAddress, message: Buffer, waitMs = LATE_MS): Promise<Buffer | undefined> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  try {
    const answered = once(socket, "message", { signal: AbortSignal.timeout(waitMs) });
    socket.send(message, port, address);
    const [reply] = (await answered) as [Buffer]; // by dgram's contract
    return reply;
  } catch {
    return undefined;
  } finally {
    socket.close();
  }
}

export async function askTcp(at: ListenAddress, message: Buffer): Promise<Buffer> {
  const socket = await openTcp(at);
  try {
    const reply = readMessage(socket);
    socket.write(framed(message));
    return await reply;
  } finally {
    socket.destroy();
  }
}

/** Errors are not told: whoever is closed by the other end sees "close". */
export async function openTcp({ address, port }: ListenAddress): Promise<Socket> {
  const socket = connect(port, address);
  socket.on("error", () => undefined);
  await once(socket, "connect", { signal: AbortSignal.timeout(LATE_MS) });
  return socket;
}

export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

async function readMessage(socket: Socket): Promise<Buffer> {
  let all = Buffer.alloc(0);
  for await (const chunk of socket) {
    all = Buffer.concat([all, chunk as Buffer]);
    if (all.length >= 2 && all.length >= 2 + all.readUInt16BE(0)) return all.subarray(2, 2 + all.readUInt16BE(0));
  }
  throw new Error(`closed after ${all.length} octets`);
}
