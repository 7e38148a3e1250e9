import { CLASS_IN, FLAG, HEADER_OCTETS, RCODE, RCODE_MASK, TYPE } from "./protocol.ts";
import { skipName } from "./query.ts";

/** Where the parts of an upstream's reply are: found once, in time linear in its length, following no pointer. */
export interface ReplyParts {
  readonly flags: number;
  /** Answers, authorities and additional records before OPT. */
  readonly counts: readonly [number, number, number];
  /** Where each record has its TTL, in order; OPT has none. */
  readonly ttlAts: readonly number[];
  /** Behind the last of these: what stands before is a message of its own. */
  readonly end: number;
  /** False = cut somewhere inside a record. */
  readonly isWhole: boolean;
  /** How long it may be given to others; 0 = not at all. */
  readonly keepSeconds: number;
}

/** How long replies are kept at most: an address that moved is found within minutes, a name that was made within half a one. */
export const KEEP_SECONDS = { positive: 300, negative: 30, failure: 2 } as const;

const FIXED_OCTETS = 10;
const SOA_NUMBERS_OCTETS = 20;
const EXTENDED_RCODE_AND_VERSION = 0xffff0000;

/** undefined = records that are announced are not there. A reply that says itself that it was cut is read as far as it goes. */
export function readReply(reply: Buffer, questionOctets: number): ReplyParts | undefined {
  const flags = reply.readUInt16BE(2);
  const type = reply.readUInt16BE(HEADER_OCTETS + questionOctets - 4);
  const counts: [number, number, number] = [0, 0, 0];
  const ttlAts: number[] = [];
  const lives = { ttl: Infinity, negative: Infinity, isAnswered: false, isExtended: false };
  let at = HEADER_OCTETS + questionOctets;
  let end = at;
  let hasOpt = false;
  for (let section = 0; section < 3; section++) {
    for (let left = reply.readUInt16BE(6 + 2 * section); left > 0; left--) {
      const fixed = skipName(reply, at);
      const next = fixed === undefined ? Infinity : endOfRecord(reply, fixed);
      if (fixed === undefined || next > reply.length)
        return (flags & FLAG.TC) === 0 ? undefined : { flags, counts, ttlAts, end, isWhole: false, keepSeconds: 0 };
      if (reply.readUInt16BE(fixed) === TYPE.OPT) {
        if (section !== 2) return undefined;
        hasOpt = true;
        lives.isExtended ||= (reply.readUInt32BE(fixed + 4) & EXTENDED_RCODE_AND_VERSION) !== 0;
      } else if (!hasOpt) {
        live(lives, reply, fixed, section, type);
        counts[section] = (counts[section] ?? 0) + 1;
        ttlAts.push(fixed + 4);
        end = next;
      }
      at = next;
    }
  }
  return { flags, counts, ttlAts, end, isWhole: true, keepSeconds: keepSeconds(flags, lives) };
}

function endOfRecord(reply: Buffer, fixed: number): number {
  return fixed + FIXED_OCTETS > reply.length ? Infinity : fixed + FIXED_OCTETS + reply.readUInt16BE(fixed + 8);
}

interface Lives {
  ttl: number;
  /** What the zone says of names and types that it does not have. */
  negative: number;
  isAnswered: boolean;
  isExtended: boolean;
}

function live(lives: Lives, reply: Buffer, fixed: number, section: number, asked: number): void {
  const type = reply.readUInt16BE(fixed);
  const ttl = ttlAt(reply, fixed + 4);
  lives.ttl = Math.min(lives.ttl, ttl);
  if (section === 0) lives.isAnswered ||= type === asked || asked === TYPE.ANY;
  if (section !== 1 || type !== TYPE.SOA || reply.readUInt16BE(fixed + 2) !== CLASS_IN) return;
  const length = reply.readUInt16BE(fixed + 8);
  if (length < SOA_NUMBERS_OCTETS + 2) return; // two names of at least the root's length
  lives.negative = Math.min(ttl, ttlAt(reply, fixed + FIXED_OCTETS + length - 4));
}

/** A TTL with the highest bit set is zero (RFC 2181, 8). */
function ttlAt(reply: Buffer, at: number): number {
  const ttl = reply.readUInt32BE(at);
  return ttl > 0x7fffffff ? 0 : ttl;
}

function keepSeconds(flags: number, { ttl, negative, isAnswered, isExtended }: Lives): number {
  if ((flags & FLAG.TC) !== 0 || isExtended) return 0;
  const rcode = flags & RCODE_MASK;
  if (rcode === RCODE.SERVFAIL) return KEEP_SECONDS.failure;
  if (rcode === RCODE.NOERROR && isAnswered) return Math.min(ttl, KEEP_SECONDS.positive);
  // Without the zone's own word (SOA) nobody knows for how long a name is missing (RFC 2308, 5).
  if ((rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) || negative === Infinity) return 0;
  return Math.min(ttl, negative, KEEP_SECONDS.negative);
}
