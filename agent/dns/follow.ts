import { encodeQuestion } from "./encode-question.ts";
import { foldCase, readName } from "./name.ts";
import type { NameKey } from "./name.ts";
import { CLASS_IN, EDE_OPTION, FLAG, HEADER_OCTETS, MAX_UDP_OCTETS, RCODE, RCODE_MASK, TYPE } from "./protocol.ts";
import type { Query } from "./query.ts";
import { readQuery, skipName } from "./query.ts";

/** The question that an ExternalName leads to: another name, the same type. undefined = the name cannot be asked for. */
export function questionFor(target: Buffer, query: Query): Query | undefined {
  const flags = FLAG.RD | (query.flags & FLAG.CD);
  const reading = readQuery(encodeQuestion({ name: target, type: query.type, flags, udpOctets: MAX_UDP_OCTETS }));
  return reading.kind === "query" ? reading.query : undefined;
}

export interface Followed {
  /** Of the last name of the chain, as RFC 6604 has it. */
  readonly rcode: typeof RCODE.NOERROR | typeof RCODE.NXDOMAIN | typeof RCODE.SERVFAIL;
  readonly records: readonly Buffer[];
  /** The SOA of the zone that says that there is no more. */
  readonly authority: readonly Buffer[];
  /** The alias that ends the chain without an address: it may be a name of ours, of which the upstream knows nothing. */
  readonly openEnd: NameKey | undefined;
  /** There are more than the upstream said. */
  readonly isCut: boolean;
  /** The extended error of the reply, if it has one. */
  readonly ede: number | undefined;
}

/** Nothing can be known of the target, but that it is the target is known. */
export const ALIAS_ALONE: Followed = {
  rcode: RCODE.SERVFAIL,
  records: [],
  authority: [],
  openEnd: undefined,
  isCut: false,
  ede: undefined,
};

/** Aliases, addresses and SOA of a reply to `question` as records that can stand in another message: no name in them is compressed. */
export function recordsOfReply(reply: Buffer, question: Buffer): Followed {
  const flags = reply.readUInt16BE(2);
  const said = flags & RCODE_MASK;
  const rcode = said === RCODE.NOERROR || said === RCODE.NXDOMAIN ? said : RCODE.SERVFAIL;
  const start = HEADER_OCTETS + question.length;
  const inAnswer = readSection(reply, start, reply.readUInt16BE(6), IN_ANSWER);
  const inAuthority = inAnswer.isWhole ? readSection(reply, inAnswer.end, reply.readUInt16BE(8), IN_AUTHORITY).records : [];
  const last = inAnswer.records.at(-1);
  return {
    rcode,
    records: inAnswer.records.map(({ bytes }) => bytes),
    authority: inAuthority.slice(0, 1).map(({ bytes }) => bytes),
    openEnd: last?.type === TYPE.CNAME ? foldCase(last.content.toString("latin1")) : undefined,
    isCut: (flags & FLAG.TC) !== 0,
    ede: extendedError(reply, start),
  };
}

/** What we pass on. */
const IN_ANSWER: ReadonlySet<number> = new Set([TYPE.A, TYPE.AAAA, TYPE.CNAME]);
const IN_AUTHORITY: ReadonlySet<number> = new Set([TYPE.SOA]);
const FIXED_OCTETS = 10;
/** A name behind a pointer may be 127 labels long: so many of them are written out within a few milliseconds. */
const MAX_RECORDS = 256;

interface ReadRecord {
  readonly type: number;
  readonly content: Buffer;
  readonly bytes: Buffer;
}

interface Section {
  readonly records: readonly ReadRecord[];
  readonly end: number;
  /** All that was announced has been read. */
  readonly isWhole: boolean;
}

function readSection(reply: Buffer, start: number, count: number, types: ReadonlySet<number>): Section {
  const records: ReadRecord[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    const fixed = i < MAX_RECORDS ? skipName(reply, at) : undefined;
    if (fixed === undefined || fixed + FIXED_OCTETS > reply.length) return { records, end: at, isWhole: false };
    const end = fixed + FIXED_OCTETS + reply.readUInt16BE(fixed + 8);
    if (end > reply.length) return { records, end: at, isWhole: false };
    if (types.has(reply.readUInt16BE(fixed)) && reply.readUInt16BE(fixed + 2) === CLASS_IN) {
      const record = readRecord(reply, at, fixed, end);
      if (!record) return { records, end: at, isWhole: false };
      records.push(record);
    }
    at = end;
  }
  return { records, end: at, isWhole: true };
}

function readRecord(reply: Buffer, start: number, fixed: number, end: number): ReadRecord | undefined {
  const type = reply.readUInt16BE(fixed);
  const owner = readName(reply, start)?.wire;
  const content = readContent(reply, type, fixed + FIXED_OCTETS, end);
  if (!owner || !content) return undefined;
  const head = Buffer.from(reply.subarray(fixed, fixed + FIXED_OCTETS));
  head.writeUInt16BE(content.length, 8);
  return { type, content, bytes: Buffer.concat([owner, head, content]) };
}

const SOA_NUMBERS_OCTETS = 20;

function readContent(reply: Buffer, type: number, start: number, end: number): Buffer | undefined {
  if (type === TYPE.A) return end - start === 4 ? reply.subarray(start, end) : undefined;
  if (type === TYPE.AAAA) return end - start === 16 ? reply.subarray(start, end) : undefined;
  const name = readName(reply, start);
  if (type === TYPE.CNAME) return name?.wire;
  const second = name && readName(reply, name.end);
  if (!second || end - second.end !== SOA_NUMBERS_OCTETS) return undefined;
  return Buffer.concat([name.wire, second.wire, reply.subarray(second.end, end)]);
}

/** Why, in the words of RFC 8914: the first option of its kind in the OPT. */
function extendedError(reply: Buffer, start: number): number | undefined {
  for (let at = start; at < reply.length;) {
    const fixed = skipName(reply, at);
    if (fixed === undefined || fixed + FIXED_OCTETS > reply.length) return undefined;
    const end = fixed + FIXED_OCTETS + reply.readUInt16BE(fixed + 8);
    if (reply.readUInt16BE(fixed) === TYPE.OPT) return errorOption(reply.subarray(fixed + FIXED_OCTETS, end));
    at = end;
  }
  return undefined;
}

function errorOption(options: Buffer): number | undefined {
  for (let at = 0; at + 6 <= options.length; at += 4 + options.readUInt16BE(at + 2))
    if (options.readUInt16BE(at) === EDE_OPTION && options.readUInt16BE(at + 2) >= 2) return options.readUInt16BE(at + 4);
  return undefined;
}
