import { connect } from "node:net";
import { randomInt } from "node:crypto";
import { HEADER_OCTETS } from "./protocol.ts";
import { readReplyTo } from "./upstream-udp.ts";
import type { OnReply, Upstream } from "./upstream-udp.ts";

/** Asks over TCP, one connection a question: only for answers that did not fit. Returns what gives up. */
export function askTcp({ address, port }: Upstream, message: Buffer, question: Buffer, timeoutMs: number, onReply: OnReply): () => void {
  const id = randomInt(0x10000);
  const framed = Buffer.allocUnsafe(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  message.copy(framed, 2);
  framed.writeUInt16BE(id, 2);

  const socket = connect({ host: address, port });
  const chunks: Buffer[] = [];
  let octets = 0;
  let settled = false;
  const settle = (reply: Buffer | undefined): void => {
    clearTimeout(timer);
    socket.destroy();
    if (settled) return;
    settled = true;
    const parts = reply && reply.length >= HEADER_OCTETS && reply.readUInt16BE(0) === id ? readReplyTo(reply, question) : undefined;
    onReply(reply && parts && { message: reply, parts });
  };
  const timer = setTimeout(() => settle(undefined), timeoutMs);
  socket.on("connect", () => void socket.write(framed));
  socket.on("data", (chunk) => {
    chunks.push(chunk);
    octets += chunk.length;
    const first = chunks[0];
    if (octets < 2 || !first) return;
    const head = first.length >= 2 ? first : Buffer.concat(chunks);
    const length = head.readUInt16BE(0);
    if (octets >= 2 + length) settle(Buffer.concat(chunks).subarray(2, 2 + length));
  });
  socket.on("error", () => settle(undefined));
  socket.on("close", () => settle(undefined));
  return () => {
    settled = true;
    clearTimeout(timer);
    socket.destroy();
  };
}
