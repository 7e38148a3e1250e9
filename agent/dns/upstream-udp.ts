import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { FLAG, HEADER_OCTETS } from "./protocol.ts";
import { readReply } from "./read-reply.ts";
import type { ReplyParts } from "./read-reply.ts";
import { literal } from "./udp.ts";

/** Where other names are asked. The address may have a zone (`fe80::1%eth0`). */
export interface Upstream {
  readonly address: string;
  readonly port: number;
}

export interface UpstreamReply {
  /** With the id that we gave the question. */
  readonly message: Buffer;
  readonly parts: ReplyParts;
}

/** undefined = the upstream is not there (its host refuses the port, or no route leads to it). */
export type OnReply = (reply: UpstreamReply | undefined) => void;

export const POOL = {
  sockets: 32,
  /** Then a socket makes room for one with another port. */
  uses: 500,
  ageMs: 60_000,
} as const;

interface Waiting {
  readonly question: Buffer;
  readonly onReply: OnReply;
  readonly pooled: PooledSocket;
}

interface PooledSocket {
  readonly socket: Socket;
  readonly slot: number;
  readonly openedMs: number;
  waiting: number;
  /** Sent as soon as the socket is connected; undefined = it is. */
  unsent: Buffer[] | undefined;
  uses: number;
}

/**
 * Sockets towards one upstream. A forged reply must come from the upstream's address (the sockets are connected) to the right one of up to 32 random
 * ports, with the right one of 65,536 ids and the question byte for byte. What is not such a reply, or cannot be read, is as if it had not come.
 */
export class UpstreamSockets {
  readonly #upstream: Upstream;
  readonly #slots = new Map<number, PooledSocket>();
  /** Also those that are replaced, and still wait for replies. */
  readonly #all = new Set<PooledSocket>();
  /** By id. */
  readonly #waiting = new Map<number, Waiting>();
  #isClosed = false;

  constructor(upstream: Upstream) {
    this.#upstream = upstream;
  }

  /** Sends a copy of the message with a random id. Returns what forgets the question. */
  ask(message: Buffer, question: Buffer, onReply: OnReply): () => void {
    if (this.#isClosed) return () => undefined;
    const pooled = this.#pick();
    let id = randomInt(0x10000);
    while (this.#waiting.has(id)) id = (id + 1) & 0xffff;
    const waiting = { question, onReply, pooled };
    this.#waiting.set(id, waiting);
    pooled.uses++;
    pooled.waiting++;
    const copy = Buffer.from(message);
    copy.writeUInt16BE(id, 0);
    if (pooled.unsent) pooled.unsent.push(copy);
    else this.#send(pooled, copy, id, waiting);
    return () => this.#forget(id, waiting);
  }

  /** Is this one of our own questions, come back? */
  isWaitingFor(id: number, question: Buffer): boolean {
    return this.#waiting.get(id)?.question.equals(question) === true;
  }

  close(): void {
    this.#isClosed = true;
    for (const pooled of this.#all) pooled.socket.close();
    this.#all.clear();
    this.#slots.clear();
    this.#waiting.clear();
  }

  #pick(): PooledSocket {
    const slot = randomInt(POOL.sockets);
    const found = this.#slots.get(slot);
    const nowMs = performance.now();
    if (found && found.uses < POOL.uses && nowMs - found.openedMs < POOL.ageMs) return found;
    const fresh = this.#open(slot, nowMs);
    if (found) this.#closeIfDone(found);
    return fresh;
  }

  #open(slot: number, openedMs: number): PooledSocket {
    const { address, port } = this.#upstream;
    const socket = createSocket({ type: isIPv6(address) ? "udp6" : "udp4", lookup: literal });
    const pooled: PooledSocket = { socket, slot, openedMs, waiting: 0, unsent: [], uses: 0 };
    this.#slots.set(slot, pooled);
    this.#all.add(pooled);
    socket.on("message", (reply) => this.#take(pooled, reply));
    socket.on("error", () => this.#fail(pooled));
    socket.connect(port, address, (error?: Error) => {
      if (error) {
        this.#fail(pooled);
        return;
      }
      const unsent = pooled.unsent ?? [];
      pooled.unsent = undefined;
      for (const message of unsent) {
        const id = message.readUInt16BE(0);
        const waiting = this.#waiting.get(id);
        if (waiting?.pooled === pooled) this.#send(pooled, message, id, waiting);
      }
    });
    return pooled;
  }

  #send({ socket }: PooledSocket, message: Buffer, id: number, waiting: Waiting): void {
    try {
      socket.send(message, (error) => {
        if (error && this.#forget(id, waiting)) waiting.onReply(undefined);
      });
    } catch {
      // An error on the socket has closed it, and told all who wait on it.
    }
  }

  #take(pooled: PooledSocket, message: Buffer): void {
    const id = message.length < HEADER_OCTETS ? -1 : message.readUInt16BE(0);
    const found = this.#waiting.get(id);
    if (found?.pooled !== pooled) return;
    const parts = readReplyTo(message, found.question);
    if (parts && this.#forget(id, found)) found.onReply({ message, parts });
  }

  #forget(id: number, waiting: Waiting): boolean {
    if (this.#waiting.get(id) !== waiting) return false;
    this.#waiting.delete(id);
    waiting.pooled.waiting--;
    this.#closeIfDone(waiting.pooled);
    return true;
  }

  /** A refused port is told on the socket, not for one message. */
  #fail(pooled: PooledSocket): void {
    if (this.#isCurrent(pooled)) this.#slots.delete(pooled.slot);
    const lost = [...this.#waiting].filter(([, waiting]) => waiting.pooled === pooled);
    for (const [id] of lost) this.#waiting.delete(id);
    pooled.waiting = 0;
    this.#closeIfDone(pooled);
    for (const [, { onReply }] of lost) onReply(undefined);
  }

  #closeIfDone(pooled: PooledSocket): void {
    if (pooled.waiting > 0 || this.#isCurrent(pooled) || !this.#all.delete(pooled)) return;
    pooled.socket.close();
  }

  #isCurrent(pooled: PooledSocket): boolean {
    return this.#slots.get(pooled.slot) === pooled;
  }
}

/** The parts of a reply to just this question, octet for octet, so that a forger has to know the case of each letter, too. */
export function readReplyTo(message: Buffer, question: Buffer): ReplyParts | undefined {
  const end = HEADER_OCTETS + question.length;
  const isReply =
    message.length >= end &&
    (message.readUInt16BE(2) & FLAG.QR) !== 0 &&
    message.readUInt16BE(4) === 1 &&
    message.compare(question, 0, question.length, HEADER_OCTETS, end) === 0;
  return isReply ? readReply(message, question.length) : undefined;
}
