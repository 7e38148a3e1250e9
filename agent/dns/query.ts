import { foldCase, MAX_LABEL_OCTETS, MAX_NAME_OCTETS } from "./name.ts";
import type { NameKey } from "./name.ts";
import { CLASS_IN, FLAG, HEADER_OCTETS, OPCODE_MASK, RCODE, TYPE } from "./protocol.ts";
import type { Rcode } from "./protocol.ts";

/** A question that may be answered or forwarded. */
export interface Query {
  /** The whole message, as it came. */
  readonly message: Buffer;
  readonly id: number;
  readonly flags: number;
  /** Name, type and class as they came: answers repeat them byte for byte. */
  readonly question: Buffer;
  readonly key: NameKey;
  /** Where each label of the name starts, the root's not included. */
  readonly labels: readonly number[];
  readonly type: number;
  readonly edns: Edns | undefined;
}

export interface Edns {
  readonly udpOctets: number;
}

/** What to reply with to a query that is refused as a whole. */
export interface Refusal {
  readonly id: number;
  readonly flags: number;
  readonly rcode: Rcode;
  readonly question: Buffer | undefined;
  readonly edns: Edns | undefined;
}

export type Reading =
  | { readonly kind: "query"; readonly query: Query }
  | { readonly kind: "refuse"; readonly refusal: Refusal }
  | { readonly kind: "drop"; readonly reason: "short" | "response" };

/**
 * The guards between the network and everything else: what passes has one question of class IN, a well-formed name and at most one OPT, and was
 * read in time linear in its length without following a pointer.
 */
export function readQuery(message: Buffer): Reading {
  if (message.length < HEADER_OCTETS) return { kind: "drop", reason: "short" };
  const flags = message.readUInt16BE(2);
  if ((flags & FLAG.QR) !== 0) return { kind: "drop", reason: "response" };
  const id = message.readUInt16BE(0);
  const refuse = (rcode: Rcode): Reading => ({ kind: "refuse", refusal: { id, flags, rcode, ...readableParts(message) } });

  if ((flags & OPCODE_MASK) !== 0) return refuse(RCODE.NOTIMP);
  const hasOneQuestion = message.readUInt16BE(4) === 1 && message.readUInt16BE(6) === 0 && message.readUInt16BE(8) === 0;
  if (!hasOneQuestion) return refuse(RCODE.FORMERR);
  const labels = readLabels(message);
  if (!labels) return refuse(RCODE.FORMERR);
  const { end } = labels;
  if (end + 4 > message.length) return refuse(RCODE.FORMERR);
  const question = message.subarray(HEADER_OCTETS, end + 4);
  const opt = readAdditionals(message, end + 4, message.readUInt16BE(10));
  if (opt === "malformed") return refuse(RCODE.FORMERR);
  if (opt !== undefined && opt.version !== 0) return refuse(RCODE.BADVERS);

  const type = message.readUInt16BE(end);
  if (message.readUInt16BE(end + 2) !== CLASS_IN || type === TYPE.AXFR || type === TYPE.IXFR) return refuse(RCODE.REFUSED);
  const key = foldCase(message.toString("latin1", HEADER_OCTETS, end));
  return { kind: "query", query: { message, id, flags, question, key, labels: labels.starts, type, edns: opt } };
}

/** Starts of the labels relative to the name, and the offset behind it in the message. */
function readLabels(message: Buffer): { readonly starts: readonly number[]; readonly end: number } | undefined {
  const starts: number[] = [];
  for (let at = HEADER_OCTETS; at < message.length && at - HEADER_OCTETS < MAX_NAME_OCTETS;) {
    const length = message[at] ?? 0;
    if (length === 0) return { starts, end: at + 1 };
    if (length > MAX_LABEL_OCTETS) return undefined; // also pointers: nothing comes before the first name that one could lead to
    starts.push(at - HEADER_OCTETS);
    at += length + 1;
  }
  return undefined;
}

const RECORD_FIXED_OCTETS = 10;

/** The OPT record among the additional ones, which must fill the message to its end. */
function readAdditionals(message: Buffer, start: number, count: number): (Edns & { readonly version: number }) | "malformed" | undefined {
  let at = start;
  let opt: (Edns & { readonly version: number }) | undefined;
  for (let i = 0; i < count; i++) {
    const isRoot = message[at] === 0;
    const fixed = skipName(message, at);
    if (fixed === undefined || fixed + RECORD_FIXED_OCTETS > message.length) return "malformed";
    if (message.readUInt16BE(fixed) === TYPE.OPT) {
      if (opt !== undefined || !isRoot) return "malformed";
      opt = { udpOctets: message.readUInt16BE(fixed + 2), version: message[fixed + 5] ?? 0 };
    }
    at = fixed + RECORD_FIXED_OCTETS + message.readUInt16BE(fixed + 8);
  }
  return at === message.length ? opt : "malformed";
}

/**
 * What a refusal repeats, as far as it can be read in a message that may be wrong anywhere: the question where there is one, and the first OPT, in
 * whichever section. Linear in the message's length, whatever its counts say: each record takes octets.
 */
function readableParts(message: Buffer): Pick<Refusal, "question" | "edns"> {
  const [questions, ...records] = [4, 6, 8, 10].map((at) => message.readUInt16BE(at));
  const end = readLabels(message)?.end;
  const question = questions === 1 && end !== undefined && end + 4 <= message.length ? message.subarray(HEADER_OCTETS, end + 4) : undefined;
  let at = HEADER_OCTETS;
  for (let left = questions ?? 0; left > 0; left--) {
    const fixed = skipName(message, at);
    if (fixed === undefined) return { question, edns: undefined };
    at = fixed + 4;
  }
  for (let left = records.reduce((sum, count) => sum + count, 0); left > 0; left--) {
    const fixed = skipName(message, at);
    if (fixed === undefined || fixed + RECORD_FIXED_OCTETS > message.length) break;
    if (message[at] === 0 && message.readUInt16BE(fixed) === TYPE.OPT)
      return { question, edns: { udpOctets: message.readUInt16BE(fixed + 2) } };
    at = fixed + RECORD_FIXED_OCTETS + message.readUInt16BE(fixed + 8);
  }
  return { question, edns: undefined };
}

/** The offset behind a name, which a pointer ends. */
export function skipName(message: Buffer, start: number): number | undefined {
  for (let at = start; at < message.length;) {
    const length = message[at] ?? 0;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    if (length > MAX_LABEL_OCTETS) return undefined;
    at += length + 1;
  }
  return undefined;
}
