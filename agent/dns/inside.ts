import { HEADER_OCTETS, RCODE, TYPE } from "./protocol.ts";
import type { Query } from "./query.ts";
import { KEEP_SECONDS } from "./read-reply.ts";
import { writeReply } from "./reply.ts";
import type { Transport } from "./reply.ts";

const POINTER = 0xc000;
const NONE: readonly Buffer[] = [];
const SOA = soaBody();

/**
 * What is said of a name that nobody outside is asked for: that it does not exist, on behalf of the zone whose name starts at `zoneAt` in the question's.
 * Above an address' own name only that there is nothing, since below may be one that we know (an endpoint's), and whoever hears NXDOMAIN asks no further
 * (RFC 8020).
 */
export function writeInside(query: Query, zoneAt: number, transport: Transport): Buffer {
  const owner = Buffer.alloc(2);
  owner.writeUInt16BE(POINTER | (HEADER_OCTETS + zoneAt), 0);
  const soa = [Buffer.concat([owner, SOA])];
  const isApex = zoneAt === 0;
  const isAsked = isApex && query.type === TYPE.SOA;
  const rcode = isApex || isAboveAddresses(query) ? RCODE.NOERROR : RCODE.NXDOMAIN;
  return writeReply(
    query,
    { rcode, answers: isAsked ? soa : NONE, authority: isAsked ? NONE : soa, additional: NONE },
    transport,
    "relayed",
  );
}

/** How many labels the name of an address has. */
const ADDRESS_LABELS = [
  ["\x07in-addr\x04arpa\0", 6],
  ["\x03ip6\x04arpa\0", 34],
] as const;

function isAboveAddresses({ key, labels }: Query): boolean {
  return ADDRESS_LABELS.some(([suffix, count]) => labels.length < count && key.endsWith(suffix));
}

/** As RFC 6303 has it, with a life that is over soon after somebody names a stub domain. */
function soaBody(): Buffer {
  const names = Buffer.from("\x09localhost\0\x06nobody\x07invalid\0", "latin1");
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(TYPE.SOA, 0);
  fixed.writeUInt16BE(1, 2);
  fixed.writeUInt32BE(KEEP_SECONDS.negative, 4);
  fixed.writeUInt16BE(names.length + 20, 8);
  const numbers = Buffer.alloc(20);
  for (const [i, seconds] of [1, 3600, 1200, 604_800, KEEP_SECONDS.negative].entries()) numbers.writeUInt32BE(seconds, 4 * i);
  return Buffer.concat([fixed, names, numbers]);
}
