import type { Answer } from "./answer.ts";
import { NameCache } from "./name-cache.ts";
import type { NameKey } from "./name.ts";
import { FLAG, HEADER_OCTETS } from "./protocol.ts";
import type { Query } from "./query.ts";
import { REPEATED_FLAGS } from "./reply.ts";

/** A reply without the parts that follow from the question: id, flags that are repeated, and the question itself. */
interface Wire {
  readonly flags: number;
  /** The counts of the header; there is one question. */
  readonly answers: number;
  readonly authority: number;
  readonly additional: number;
  /** What stands behind the question, as latin1: a Buffer takes four times what is in it, and keeps others of its slab alive. */
  readonly body: string;
  /** Octets of each answer, where they take turns; 0 = they do not. */
  readonly turnOctets: number;
  /** Of the zone; undefined = holds until the name changes. */
  readonly version: number | undefined;
}

const LIMITS = { names: 20_000, octets: 8 << 20 };

/**
 * Replies by question: name, type, and whether there was an OPT. A reply goes with its name's change; one that more names have a part in (an SRV with
 * addresses, an alias, a SOA) holds for one version of the zone. What is cut for a client is not kept, and neither is what says that a name does not exist:
 * of those there are as many as somebody likes to ask for.
 */
export class WireCache {
  readonly #wires = new NameCache<Wire>(LIMITS);

  /** `turn`, from 0 to below 1: which of the addresses comes first. undefined = not kept, or longer than the client takes. */
  reply(query: Query, limit: number, version: number, turn: number): Buffer | undefined {
    const wire = this.#wires.get(query.key, kindOf(query));
    if (!wire || (wire.version !== undefined && wire.version !== version)) return undefined;
    const start = HEADER_OCTETS + query.question.length;
    const length = start + wire.body.length;
    if (length > limit) return undefined;
    const message = Buffer.allocUnsafe(length);
    message.writeUInt16BE(query.id, 0);
    message.writeUInt16BE(wire.flags | (query.flags & REPEATED_FLAGS), 2);
    message.writeUInt16BE(1, 4);
    message.writeUInt16BE(wire.answers, 6);
    message.writeUInt16BE(wire.authority, 8);
    message.writeUInt16BE(wire.additional, 10);
    query.question.copy(message, HEADER_OCTETS);
    writeTurned(wire, message, start, turn);
    return message;
  }

  keep(query: Query, { answers, additional, lasts, turns }: Answer, message: Buffer, version: number): void {
    const flags = message.readUInt16BE(2);
    const isWhole = (flags & FLAG.TC) === 0 && message.readUInt16BE(10) === additional.length + (query.edns ? 1 : 0);
    if (lasts === "once" || !isWhole) return;
    // Records differ in length, so they stand in the order in which they were written: only equal ones are turned later.
    if (turns && !isEven(answers)) return; // one message would send all clients to one endpoint
    const body = message.toString("latin1", HEADER_OCTETS + query.question.length);
    const wire: Wire = {
      flags: flags & ~REPEATED_FLAGS,
      answers: message.readUInt16BE(6),
      authority: message.readUInt16BE(8),
      additional: message.readUInt16BE(10),
      body,
      turnOctets: turns ? (answers[0]?.length ?? 0) : 0,
      version: lasts === "zone" ? version : undefined,
    };
    this.#wires.put(query.key, kindOf(query), wire, body.length);
  }

  drop(name: NameKey): void {
    this.#wires.drop(name);
  }

  get size(): number {
    return this.#wires.size;
  }
}

function kindOf({ type, edns }: Query): number {
  return type * 2 + (edns ? 1 : 0);
}

function isEven(records: readonly Buffer[]): boolean {
  return records.every((record) => record.length === records[0]?.length);
}

/** `turn` says which of the answers comes first. */
function writeTurned({ body, answers, turnOctets }: Wire, message: Buffer, at: number, turn: number): void {
  const from = Math.floor(turn * answers) * turnOctets;
  if (from === 0) {
    message.write(body, at, "latin1");
    return;
  }
  const end = answers * turnOctets;
  message.write(body.slice(from, end), at, "latin1");
  message.write(body.slice(0, from), at + end - from, "latin1");
  message.write(body.slice(end), at + end, "latin1");
}
