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
  /** The alias that ends the chain without an address: it may be a name of ours, of which the upstream knows nothing. */
  readonly openEnd: NameKey | undefined;
  /** There are more than the upstream said. */
  readonly isCut: boolean;
  /** The extended error of the reply, if it has one. */
  readonly ede: number | undefined;
}

/** Nothing can be known of the target, but that it is the target is known. */
export const ALIAS_ALONE: Followed = { rcode: RCODE.SERVFAIL, records: [], openEnd: undefined, isCut: false, ede: undefined };

/** Aliases and addresses of a reply to `question` as records that can stand in another message: no name in them is compressed. */
export function recordsOfReply(reply: Buffer, question: Buffer): Followed {
  const flags = reply.readUInt16BE(2);
  const said = flags & RCODE_MASK;
  const rcode = said === RCODE.NOERROR || said === RCODE.NXDOMAIN ? said : RCODE.SERVFAIL;
  const start = HEADER_OCTETS + question.length;
  const records: Buffer[] = [];
  let openEnd: NameKey | undefined;
  let at = start;
  for (let i = Math.min(reply.readUInt16BE(6), MAX_RECORDS); i > 0; i--) {
    const record = readRecord(reply, at);
    if (!record) break;
    if (record.bytes) records.push(record.bytes);
    openEnd = record.alias && foldCase(record.alias.toString("latin1"));
    at = record.end;
  }
  return { rcode, records, openEnd, isCut: (flags & FLAG.TC) !== 0, ede: extendedError(reply, start) };
}

const FIXED_OCTETS = 10;
/** A name behind a pointer may be 127 labels long: so many of them are written out within a few milliseconds. */
const MAX_RECORDS = 256;

interface ReadRecord {
  /** undefined = of a kind that we do not pass on. */
  readonly bytes: Buffer | undefined;
  readonly alias: Buffer | undefined;
  readonly end: number;
}

function readRecord(reply: Buffer, start: number): ReadRecord | undefined {
  const fixed = skipName(reply, start);
  if (fixed === undefined || fixed + FIXED_OCTETS > reply.length) return undefined;
  const type = reply.readUInt16BE(fixed);
  const data = fixed + FIXED_OCTETS;
  const length = reply.readUInt16BE(fixed + 8);
  const end = data + length;
  if (end > reply.length) return undefined;
  const isAddress = (type === TYPE.A && length === 4) || (type === TYPE.AAAA && length === 16);
  if (reply.readUInt16BE(fixed + 2) !== CLASS_IN || (!isAddress && type !== TYPE.CNAME)) return { bytes: undefined, alias: undefined, end };
  const owner = readName(reply, start)?.wire;
  const content = isAddress ? reply.subarray(data, end) : readName(reply, data)?.wire;
  if (!owner || !content) return undefined;
  const head = Buffer.from(reply.subarray(fixed, data));
  head.writeUInt16BE(content.length, 8);
  return { bytes: Buffer.concat([owner, head, content]), alias: isAddress ? undefined : content, end };
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
