import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { FLAG, HEADER_OCTETS } from "./protocol.ts";
import { literal } from "./udp.ts";

/** Where other names are asked. */
export interface Upstream {
  readonly address: string;
  readonly port: number;
}

/** undefined = the upstream is not there (its host refuses the port, or no route leads to it). */
export type OnReply = (reply: Buffer | undefined) => void;

const SOCKETS = 32;
const USES_PER_SOCKET = 500;

interface Waiting {
  readonly question: Buffer;
  readonly onReply: OnReply;
}

interface PooledSocket {
  readonly socket: Socket;
  readonly slot: number;
  readonly waiting: Map<number, Waiting>;
  /** Sent as soon as the socket is connected; undefined = it is. */
  unsent: Buffer[] | undefined;
  uses: number;
}

/**
 * Sockets towards one upstream. A forged reply must come from the upstream's address (the sockets are connected) to the right one of up to 32 random
 * ports, with the right one of 65,536 ids and the question byte for byte. Each socket is replaced after 500 questions.
 */
export class UpstreamSockets {
  readonly #upstream: Upstream;
  readonly #slots = new Map<number, PooledSocket>();
  /** Also those that are replaced, and still wait for replies. */
  readonly #all = new Set<PooledSocket>();

  constructor(upstream: Upstream) {
    this.#upstream = upstream;
  }

  /** Sends a copy of the message with a random id; the reply has that id, too. Returns what forgets the question. */
  ask(message: Buffer, question: Buffer, onReply: OnReply): () => void {
    const pooled = this.#pick();
    let id = randomInt(0x10000);
    while (pooled.waiting.has(id)) id = (id + 1) & 0xffff;
    const copy = Buffer.from(message);
    copy.writeUInt16BE(id, 0);
    pooled.uses++;
    pooled.waiting.set(id, { question, onReply });
    if (pooled.unsent) pooled.unsent.push(copy);
    else send(pooled, copy);
    return () => {
      pooled.waiting.delete(id);
      this.#closeIfDone(pooled);
    };
  }

  /** Is this one of our own questions, come back? */
  isWaitingFor(id: number, question: Buffer): boolean {
    for (const { waiting } of this.#all) if (waiting.get(id)?.question.equals(question) === true) return true;
    return false;
  }

  close(): void {
    for (const pooled of this.#all) pooled.socket.close();
    this.#all.clear();
    this.#slots.clear();
  }

  #pick(): PooledSocket {
    const slot = randomInt(SOCKETS);
    const found = this.#slots.get(slot);
    if (found && found.uses < USES_PER_SOCKET) return found;
    const fresh = this.#open(slot);
    if (found) this.#closeIfDone(found);
    return fresh;
  }

  #open(slot: number): PooledSocket {
    const { address, port } = this.#upstream;
    const socket = createSocket({ type: isIPv6(address) ? "udp6" : "udp4", lookup: literal });
    const pooled: PooledSocket = { socket, slot, waiting: new Map(), unsent: [], uses: 0 };
    this.#slots.set(slot, pooled);
    this.#all.add(pooled);
    socket.on("message", (reply) => take(pooled, reply));
    socket.on("error", () => this.#fail(pooled));
    socket.connect(port, address, (error?: Error) => {
      if (error) {
        this.#fail(pooled);
        return;
      }
      const unsent = pooled.unsent ?? [];
      pooled.unsent = undefined;
      for (const message of unsent) send(pooled, message);
    });
    return pooled;
  }

  /** A refused port is told on the socket, not for one message. */
  #fail(pooled: PooledSocket): void {
    if (this.#isCurrent(pooled)) this.#slots.delete(pooled.slot);
    const waiting = [...pooled.waiting.values()];
    pooled.waiting.clear();
    this.#closeIfDone(pooled);
    for (const { onReply } of waiting) onReply(undefined);
  }

  #closeIfDone(pooled: PooledSocket): void {
    if (pooled.waiting.size > 0 || this.#isCurrent(pooled) || !this.#all.delete(pooled)) return;
    pooled.socket.close();
  }

  #isCurrent(pooled: PooledSocket): boolean {
    return this.#slots.get(pooled.slot) === pooled;
  }
}

function send({ socket, waiting }: PooledSocket, message: Buffer): void {
  try {
    socket.send(message, (error) => {
      if (error) refuse(waiting, message.readUInt16BE(0));
    });
  } catch {
    // An error on the socket has closed it, and told all who wait on it.
  }
}

function refuse(waiting: Map<number, Waiting>, id: number): void {
  const found = waiting.get(id);
  waiting.delete(id);
  found?.onReply(undefined);
}

function take({ waiting }: PooledSocket, reply: Buffer): void {
  if (reply.length < HEADER_OCTETS || (reply.readUInt16BE(2) & FLAG.QR) === 0) return;
  const id = reply.readUInt16BE(0);
  const found = waiting.get(id);
  if (!found || !repeatsQuestion(reply, found.question)) return;
  waiting.delete(id);
  found.onReply(reply);
}

/** Octet for octet, so that a forger has to know the case of each letter, too. */
export function repeatsQuestion(reply: Buffer, question: Buffer): boolean {
  const end = HEADER_OCTETS + question.length;
  return reply.length >= end && reply.readUInt16BE(4) === 1 && reply.compare(question, 0, question.length, HEADER_OCTETS, end) === 0;
}
