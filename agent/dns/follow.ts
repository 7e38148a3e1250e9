import { encodeQuestion } from "./encode-question.ts";
import { readName } from "./name.ts";
import { CLASS_IN, FLAG, HEADER_OCTETS, RCODE, RCODE_MASK, TYPE } from "./protocol.ts";
import type { Query } from "./query.ts";
import { skipName } from "./query.ts";

/** The question that an ExternalName leads to: another name, the same type. */
export function questionFor(target: Buffer, query: Query): { readonly message: Buffer; readonly question: Buffer } {
  const message = encodeQuestion({ name: target, type: query.type, flags: FLAG.RD | (query.flags & FLAG.CD) });
  return { message, question: message.subarray(HEADER_OCTETS) };
}

export interface Followed {
  readonly rcode: typeof RCODE.NOERROR | typeof RCODE.NXDOMAIN | typeof RCODE.SERVFAIL;
  readonly records: readonly Buffer[];
}

/** Aliases and addresses of an upstream's reply as records that can stand in another message: no name in them is compressed. */
export function recordsOfReply(reply: Buffer, question: Buffer): Followed {
  const rcode = reply.readUInt16BE(2) & RCODE_MASK;
  const records: Buffer[] = [];
  let at = HEADER_OCTETS + question.length;
  for (let i = reply.readUInt16BE(6); i > 0; i--) {
    const record = readRecord(reply, at);
    if (!record) break;
    if (record.bytes) records.push(record.bytes);
    at = record.end;
  }
  return {
    rcode: rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN ? rcode : RCODE.SERVFAIL,
    records,
  };
}

const FIXED_OCTETS = 10;

/** `bytes` undefined = of a kind that we do not pass on. */
function readRecord(reply: Buffer, start: number): { readonly bytes: Buffer | undefined; readonly end: number } | undefined {
  const fixed = skipName(reply, start);
  if (fixed === undefined || fixed + FIXED_OCTETS > reply.length) return undefined;
  const type = reply.readUInt16BE(fixed);
  const data = fixed + FIXED_OCTETS;
  const length = reply.readUInt16BE(fixed + 8);
  const end = data + length;
  if (end > reply.length) return undefined;
  const isAddress = (type === TYPE.A && length === 4) || (type === TYPE.AAAA && length === 16);
  if (reply.readUInt16BE(fixed + 2) !== CLASS_IN || (!isAddress && type !== TYPE.CNAME)) return { bytes: undefined, end };
  const owner = readName(reply, start)?.wire;
  const content = isAddress ? reply.subarray(data, end) : readName(reply, data)?.wire;
  if (!owner || !content) return undefined;
  const head = Buffer.from(reply.subarray(fixed, data));
  head.writeUInt16BE(content.length, 8);
  return { bytes: Buffer.concat([owner, head, content]), end };
}
