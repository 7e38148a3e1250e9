import type { Answer } from "./answer.ts";
import {
  EDE_OPTION,
  FLAG,
  HEADER_OCTETS,
  MAX_TCP_OCTETS,
  MAX_UDP_OCTETS,
  MIN_UDP_OCTETS,
  OPCODE_MASK,
  OPT_OCTETS,
  TYPE,
} from "./protocol.ts";
import type { Edns, Query, Refusal } from "./query.ts";

export type Transport = "udp" | "tcp";

export const EDE_OCTETS = 6;
/** The opcode is repeated, and what the client wishes; AD is not. */
export const REPEATED_FLAGS = OPCODE_MASK | FLAG.RD | FLAG.CD;

/** How much the client takes. */
export function octetLimit(transport: Transport, edns: Edns | undefined): number {
  if (transport === "tcp") return MAX_TCP_OCTETS;
  return edns ? Math.max(MIN_UDP_OCTETS, Math.min(MAX_UDP_OCTETS, edns.udpOctets)) : MIN_UDP_OCTETS;
}

/** The message: as many whole records as fit; where an answer does not, TC says so, while additional ones are left out in silence. */
export function writeReply(
  query: Query,
  { rcode, answers, authority, additional }: Pick<Answer, "rcode" | "answers" | "authority" | "additional">,
  transport: Transport,
  mode: "ours" | "relayed" = "ours",
): Buffer {
  const start = HEADER_OCTETS + query.question.length;
  const room = octetLimit(transport, query.edns) - start - (query.edns ? OPT_OCTETS : 0);
  const inAnswer = fitting(answers, room);
  const inAuthority = fitting(authority, room - inAnswer.octets);
  const cut = inAnswer.count < answers.length || inAuthority.count < authority.length;
  const inAdditional = cut ? { count: 0, octets: 0 } : fitting(additional, room - inAnswer.octets - inAuthority.octets);

  const message = Buffer.allocUnsafe(start + inAnswer.octets + inAuthority.octets + inAdditional.octets + (query.edns ? OPT_OCTETS : 0));
  const flags = (mode === "ours" ? FLAG.AA : 0) | (cut ? FLAG.TC : 0);
  writeHeader(message, query, flags | (rcode & 15), 1, inAnswer.count, inAuthority.count, inAdditional.count + (query.edns ? 1 : 0));
  query.question.copy(message, HEADER_OCTETS);
  let at = start;
  at = put(message, at, answers, inAnswer.count);
  at = put(message, at, authority, inAuthority.count);
  at = put(message, at, additional, inAdditional.count);
  if (query.edns) writeOpt(message, at, rcode);
  return message;
}

/** The message of `writeReply`, with an option in its OPT that says why (RFC 8914); as it was where there is no OPT or no room. */
export function withExtendedError(message: Buffer, ede: number, { edns }: Query, transport: Transport): Buffer {
  if (!edns || message.length + EDE_OCTETS > octetLimit(transport, edns)) return message;
  message.writeUInt16BE(EDE_OCTETS, message.length - 2);
  return Buffer.concat([message, extendedError(ede)]);
}

export function extendedError(ede: number): Buffer {
  const option = Buffer.alloc(EDE_OCTETS);
  for (const [i, value] of [EDE_OPTION, 2, ede].entries()) option.writeUInt16BE(value, 2 * i);
  return option;
}

/** For what is refused as a whole: header, the question where it could be read, OPT where there was one. */
export function writeRefusal({ id, flags, rcode, question, edns }: Refusal): Buffer {
  const start = HEADER_OCTETS + (question?.length ?? 0);
  const message = Buffer.allocUnsafe(start + (edns ? OPT_OCTETS : 0));
  writeHeader(message, { id, flags }, rcode & 15, question ? 1 : 0, 0, 0, edns ? 1 : 0);
  question?.copy(message, HEADER_OCTETS);
  if (edns) writeOpt(message, start, rcode);
  return message;
}

function writeHeader(
  message: Buffer,
  query: { readonly id: number; readonly flags: number },
  flags: number,
  ...counts: readonly number[]
): void {
  message.writeUInt16BE(query.id, 0);
  message.writeUInt16BE(FLAG.QR | FLAG.RA | (query.flags & REPEATED_FLAGS) | flags, 2);
  for (const [i, count] of counts.entries()) message.writeUInt16BE(count, 4 + 2 * i);
}

function writeOpt(message: Buffer, at: number, rcode: number): void {
  message[at] = 0;
  message.writeUInt16BE(TYPE.OPT, at + 1);
  message.writeUInt16BE(MAX_UDP_OCTETS, at + 3);
  message.writeUInt32BE((rcode >> 4) << 24, at + 5);
  message.writeUInt16BE(0, at + 9);
}

function fitting(records: readonly Buffer[], room: number): { readonly count: number; readonly octets: number } {
  let [count, octets] = [0, 0];
  for (const record of records) {
    if (octets + record.length > room) break;
    octets += record.length;
    count++;
  }
  return { count, octets };
}

function put(message: Buffer, start: number, records: readonly Buffer[], count: number): number {
  let at = start;
  for (let i = 0; i < count; i++) at += records[i]?.copy(message, at) ?? 0;
  return at;
}
