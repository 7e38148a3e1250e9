import type { Answer } from "./answer.ts";
import { NameCache } from "./name-cache.ts";
import type { NameKey } from "./name.ts";
import { FLAG, HEADER_OCTETS } from "./protocol.ts";
import type { Query } from "./query.ts";
import { REPEATED_FLAGS } from "./reply.ts";

/** A reply without the parts that follow from the question: id, flags that are repeated, and the question itself. */
interface Wire {
  readonly flags: number;
  /** The four counts of the header. */
  readonly counts: Buffer;
  /** What stands behind the question. */
  readonly body: Buffer;
  /** Where each record of the answer section begins in the body, and where the last ends. */
  readonly starts: readonly number[];
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
    wire.counts.copy(message, 4);
    query.question.copy(message, HEADER_OCTETS);
    copyTurned(wire, message, start, turn);
    return message;
  }

  keep(query: Query, answer: Answer, message: Buffer, version: number): void {
    const flags = message.readUInt16BE(2);
    const isWhole = (flags & FLAG.TC) === 0 && message.readUInt16BE(10) === answer.additional.length + (query.edns ? 1 : 0);
    if (answer.lasts === "once" || !isWhole) return;
    const starts = [0];
    for (const record of answer.answers) starts.push((starts.at(-1) ?? 0) + record.length);
    const body = Buffer.from(message.subarray(HEADER_OCTETS + query.question.length));
    const wire: Wire = {
      flags: flags & ~REPEATED_FLAGS,
      counts: Buffer.from(message.subarray(4, HEADER_OCTETS)),
      body,
      // Records differ in length, so they stand in the order in which they were written: only equal ones are turned later.
      starts: answer.turns && isEven(answer.answers) ? starts : [],
      version: answer.lasts === "zone" ? version : undefined,
    };
    if (answer.turns && wire.starts.length === 0) return; // one message would send all clients to one endpoint
    this.#wires.put(query.key, kindOf(query), wire, body.length + starts.length * 8);
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

function copyTurned({ body, starts }: Wire, message: Buffer, at: number, turn: number): void {
  const count = starts.length - 1;
  const from = count > 1 ? (starts[Math.floor(turn * count)] ?? 0) : 0;
  if (from === 0) {
    body.copy(message, at);
    return;
  }
  const end = starts[count] ?? 0;
  body.copy(message, at, from, end);
  body.copy(message, at + end - from, 0, from);
  body.copy(message, at + end, end);
}
