import { FLAG, HEADER_OCTETS, MAX_UDP_OCTETS, OPT_OCTETS, RCODE, TYPE } from "./protocol.ts";
import type { Rcode } from "./protocol.ts";
import type { Query } from "./query.ts";
import { EDE_OCTETS, extendedError, octetLimit } from "./reply.ts";
import type { Transport } from "./reply.ts";
import { STALE_TTL_SECONDS } from "./reply-cache.ts";
import type { StoredReply } from "./reply-cache.ts";

/** Extended DNS errors (RFC 8914): why, for clients that speak EDNS. */
export const EDE = { staleAnswer: 3, staleNxdomain: 19, noReachableAuthority: 22, networkError: 23 } as const;
export type Ede = (typeof EDE)[keyof typeof EDE];

const DO_BIT = 0x8000;

interface Client {
  readonly query: Query;
  readonly transport: Transport;
  readonly isDnssecOk: boolean;
}

/** A reply that another client's question brought, for this one: its id, its letters, its EDNS, and TTLs that have grown older meanwhile. */
export function writeStored({ query, transport, isDnssecOk }: Client, stored: StoredReply, nowMs: number): Buffer {
  const { wire, parts } = stored;
  const isStale = parts.keepSeconds > 0 && nowMs >= stored.freshUntilMs;
  const nxdomain = (parts.flags & 15) === RCODE.NXDOMAIN;
  const opt = query.edns && optRecord(isDnssecOk, isStale ? (nxdomain ? EDE.staleNxdomain : EDE.staleAnswer) : undefined);
  const { end, counts, isCut } = fitting(stored, octetLimit(transport, query.edns) - (opt?.length ?? 0));

  const message = Buffer.allocUnsafe(end + (opt?.length ?? 0));
  wire.copy(message, 0, 0, end);
  query.question.copy(message, HEADER_OCTETS);
  const tc = isCut ? FLAG.TC : parts.flags & FLAG.TC;
  writeHead(message, query, (parts.flags & ~(FLAG.AA | FLAG.TC | FLAG.RD | FLAG.CD)) | tc, counts, opt !== undefined);
  age(message, end, stored, isStale, nowMs);
  opt?.copy(message, end);
  return message;
}

/** A question that nobody answers. */
export function writeFailure({ query, isDnssecOk }: Client, rcode: Rcode, ede?: Ede): Buffer {
  const start = HEADER_OCTETS + query.question.length;
  const opt = query.edns && optRecord(isDnssecOk, ede);
  const message = Buffer.allocUnsafe(start + (opt?.length ?? 0));
  query.question.copy(message, HEADER_OCTETS);
  writeHead(message, query, FLAG.QR | FLAG.RA | rcode, [0, 0, 0], opt !== undefined);
  opt?.copy(message, start);
  return message;
}

function writeHead(message: Buffer, query: Query, flags: number, counts: readonly [number, number, number], hasOpt: boolean): void {
  message.writeUInt16BE(query.id, 0);
  message.writeUInt16BE(flags | (query.flags & (FLAG.RD | FLAG.CD)), 2);
  message.writeUInt16BE(1, 4);
  message.writeUInt16BE(counts[0], 6);
  message.writeUInt16BE(counts[1], 8);
  message.writeUInt16BE(counts[2] + (hasOpt ? 1 : 0), 10);
}

/** TTLs counted down; of what is stale, as RFC 8767 has it. */
function age(message: Buffer, end: number, { wire, parts, storedMs }: StoredReply, isStale: boolean, nowMs: number): void {
  const seconds = Math.floor((nowMs - storedMs) / 1000);
  if (seconds <= 0 && !isStale) return;
  for (const at of parts.ttlAts) {
    if (at >= end) return;
    message.writeUInt32BE(isStale ? STALE_TTL_SECONDS : Math.max(0, wire.readUInt32BE(at) - seconds), at);
  }
}

interface Fitting {
  readonly end: number;
  readonly counts: readonly [number, number, number];
  readonly isCut: boolean;
}

/** As many whole records as fit; additional ones go first, and in silence. */
function fitting({ wire, parts }: StoredReply, room: number): Fitting {
  if (wire.length <= room) return { end: wire.length, counts: parts.counts, isCut: false };
  const [answers, authorities] = parts.counts;
  let end = HEADER_OCTETS;
  while ((wire[end] ?? 0) !== 0) end += (wire[end] ?? 0) + 1;
  end += 5;
  let taken = 0;
  for (const at of parts.ttlAts) {
    const next = at + 6 + wire.readUInt16BE(at + 4);
    if (next > room) break;
    end = next;
    taken++;
  }
  const fitted = Math.min(taken, answers);
  const inAuthority = Math.min(taken - fitted, authorities);
  return { end, counts: [fitted, inAuthority, taken - fitted - inAuthority], isCut: taken < answers + authorities };
}

const PLAIN_OPT = [newOpt(false, undefined), newOpt(true, undefined)] as const;

function optRecord(isDnssecOk: boolean, ede: Ede | undefined): Buffer {
  return ede === undefined ? PLAIN_OPT[isDnssecOk ? 1 : 0] : newOpt(isDnssecOk, ede);
}

function newOpt(isDnssecOk: boolean, ede: Ede | undefined): Buffer {
  const record = Buffer.alloc(OPT_OCTETS);
  record.writeUInt16BE(TYPE.OPT, 1);
  record.writeUInt16BE(MAX_UDP_OCTETS, 3);
  record.writeUInt16BE(isDnssecOk ? DO_BIT : 0, 7);
  if (ede === undefined) return record;
  record.writeUInt16BE(EDE_OCTETS, 9);
  return Buffer.concat([record, extendedError(ede)]);
}
