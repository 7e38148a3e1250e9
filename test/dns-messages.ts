import { keyOfName, wireOfKey } from "#agent/dns/name.ts";
import { CLASS_IN, FLAG, HEADER_OCTETS, TYPE } from "#agent/dns/protocol.ts";
import { skipName } from "#agent/dns/query.ts";

/** DNS messages written by hand, so that tests can also write wrong ones. */

export interface TestRecord {
  /** Without: the question's. */
  readonly name?: string;
  readonly type: number;
  readonly ttl: number;
  readonly data: Buffer;
}

export interface TestReply {
  readonly flags?: number;
  readonly answers?: readonly TestRecord[];
  readonly authority?: readonly TestRecord[];
  readonly additional?: readonly TestRecord[];
}

export const A = (address: string, ttl: number): TestRecord => ({ type: TYPE.A, ttl, data: Buffer.from(address.split(".").map(Number)) });

export const CNAME = (target: string, ttl: number, name?: string): TestRecord => ({
  type: TYPE.CNAME,
  ttl,
  data: wireName(target),
  ...(name !== undefined && { name }),
});

export function SOA(zone: string, ttl: number, minimum: number): TestRecord {
  const numbers = Buffer.alloc(20);
  numbers.writeUInt32BE(minimum, 16);
  return { name: zone, type: TYPE.SOA, ttl, data: Buffer.concat([wireName(`ns.${zone}`), wireName(`host.${zone}`), numbers]) };
}

/** `udpOctets` is where other records have their class, `ttl` holds version and flags. */
export function OPT(ttl = 0, data = Buffer.alloc(0)): TestRecord {
  return { name: ".", type: TYPE.OPT, ttl, data };
}

export function wireName(name: string): Buffer {
  const key = name === "." ? "\0" : keyOfName(name);
  if (key === undefined) throw new Error(`no name: ${name}`);
  return wireOfKey(key);
}

/** A reply to the question of `query`, which is repeated with its id. */
export function replyTo(query: Buffer, { flags = FLAG.QR | FLAG.RA, answers = [], authority = [], additional = [] }: TestReply): Buffer {
  const end = (skipName(query, HEADER_OCTETS) ?? HEADER_OCTETS) + 4;
  const head = Buffer.alloc(HEADER_OCTETS);
  query.copy(head, 0, 0, 2);
  for (const [i, value] of [flags, 1, answers.length, authority.length, additional.length].entries()) head.writeUInt16BE(value, 2 + 2 * i);
  return Buffer.concat([head, query.subarray(HEADER_OCTETS, end), ...[...answers, ...authority, ...additional].map(encode)]);
}

function encode({ name, type, ttl, data }: TestRecord): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(type === TYPE.OPT ? 1232 : CLASS_IN, 2);
  fixed.writeUInt32BE(ttl, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([name === undefined ? Buffer.of(0xc0, HEADER_OCTETS) : wireName(name), fixed, data]);
}
