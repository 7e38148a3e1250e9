import { keyOfName, readName, textOfKey, foldCase } from "#agent/dns/name.ts";
import { FLAG, HEADER_OCTETS, RCODE, RCODE_MASK, TYPE } from "#agent/dns/protocol.ts";
import { formatIp } from "#proto/ip.ts";

/** An answer in words. Pure. */
export interface AnswerText {
  readonly rcode: string;
  /** The server says that the name is its own. */
  readonly authoritative: boolean;
  readonly truncated: boolean;
  readonly records: readonly RecordText[];
}

export interface RecordText {
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  readonly data: string;
}

export const ASKED_TYPES = ["A", "AAAA", "CNAME", "NS", "PTR", "SOA", "SRV", "TXT"] as const;
export type AskedType = (typeof ASKED_TYPES)[number];

const MAX_RECORDS = 1000;
const FIXED_OCTETS = 10;

/** undefined = no answer to that question. */
export function parseAnswer(message: Buffer, { id, name }: { readonly id: number; readonly name: string }): AnswerText | undefined {
  if (message.length < HEADER_OCTETS || message.readUInt16BE(0) !== id) return undefined;
  const flags = message.readUInt16BE(2);
  const question = readName(message, HEADER_OCTETS);
  if ((flags & FLAG.QR) === 0 || !question || foldCase(question.wire.toString("latin1")) !== (name === "" ? "\0" : keyOfName(name)))
    return undefined;
  const records: RecordText[] = [];
  let at = question.end + 4;
  for (let left = Math.min(message.readUInt16BE(6), MAX_RECORDS); left > 0; left--) {
    const owner = readName(message, at);
    if (!owner || owner.end + FIXED_OCTETS > message.length) break;
    const from = owner.end + FIXED_OCTETS;
    const octets = message.readUInt16BE(owner.end + 8);
    if (from + octets > message.length) break;
    const type = message.readUInt16BE(owner.end);
    records.push({
      name: textOf(owner.wire),
      type: typeName(type),
      ttl: message.readUInt32BE(owner.end + 4),
      data: dataOf(message, { type, from, octets }),
    });
    at = from + octets;
  }
  return { rcode: rcodeName(flags & RCODE_MASK), authoritative: (flags & FLAG.AA) !== 0, truncated: (flags & FLAG.TC) !== 0, records };
}

function dataOf(
  message: Buffer,
  { type, from, octets }: { readonly type: number; readonly from: number; readonly octets: number },
): string {
  const nameAt = (at: number): string => textOf(readName(message, at)?.wire ?? Buffer.of(0));
  switch (type) {
    case TYPE.A:
      if (octets === 4) return message.subarray(from, from + 4).join(".");
      break;
    case TYPE.AAAA:
      if (octets === 16) return formatIp({ family: "IPv6", value: BigInt(`0x${message.toString("hex", from, from + 16)}`) });
      break;
    case TYPE.CNAME:
    case TYPE.NS:
    case TYPE.PTR:
    case TYPE.SOA:
      return nameAt(from);
    case TYPE.SRV:
      if (octets > 6)
        return `${message.readUInt16BE(from)} ${message.readUInt16BE(from + 2)} ${message.readUInt16BE(from + 4)} ${nameAt(from + 6)}`;
      break;
    case TYPE.TXT:
      return JSON.stringify(message.toString("latin1", from + 1, from + octets));
  }
  return `\\# ${octets} ${message.toString("hex", from, from + Math.min(octets, 32))}`;
}

function textOf(wire: Buffer): string {
  return textOfKey(wire.toString("latin1"));
}

function typeName(type: number): string {
  return Object.entries(TYPE).find(([, number]) => number === type)?.[0] ?? `TYPE${type}`;
}

function rcodeName(rcode: number): string {
  return Object.entries(RCODE).find(([, number]) => number === rcode)?.[0] ?? `RCODE${rcode}`;
}
