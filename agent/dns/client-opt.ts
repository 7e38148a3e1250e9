import { FLAG, HEADER_OCTETS, MAX_UDP_OCTETS, OPT_OCTETS, TYPE } from "./protocol.ts";

/** What a question says beside name and type that the answer depends on. */
export interface ClientOpt {
  /** Where OPT starts; undefined = there is none. */
  readonly at: number | undefined;
  readonly isDnssecOk: boolean;
  /** Another client's answer will do: nothing in the question is about this client alone. */
  readonly isSharable: boolean;
}

const DO = 0x8000;
/** Said from neighbour to neighbour, and of no consequence for the records: keepalive, cookie, padding. */
const HOP_OPTIONS: ReadonlySet<number> = new Set([10, 11, 12]);
const AD = 0x0020;

/** Of a question that has passed the guards (query.ts). Anything but one OPT right behind the question makes it one of its kind. */
export function readClientOpt(message: Buffer, question: Buffer): ClientOpt {
  const at = HEADER_OCTETS + question.length;
  const isRecursive = (message.readUInt16BE(2) & FLAG.RD) !== 0;
  if (message.readUInt16BE(10) === 0) return { at: undefined, isDnssecOk: false, isSharable: isRecursive };
  const isOpt =
    message.readUInt16BE(10) === 1 && at + OPT_OCTETS <= message.length && message[at] === 0 && message.readUInt16BE(at + 1) === TYPE.OPT;
  if (!isOpt) return { at: undefined, isDnssecOk: false, isSharable: false };
  const isDnssecOk = (message.readUInt16BE(at + 7) & DO) !== 0;
  return { at, isDnssecOk, isSharable: isRecursive && hasOnlyHopOptions(message, at + OPT_OCTETS) };
}

function hasOnlyHopOptions(message: Buffer, start: number): boolean {
  for (let at = start; at < message.length; at += 4 + message.readUInt16BE(at + 2))
    if (at + 4 > message.length || !HOP_OPTIONS.has(message.readUInt16BE(at))) return false;
  return true;
}

/** DO, CD and AD as one character for keys: each of them changes what a validating upstream says. */
export function answerBits(flags: number, { isDnssecOk }: ClientOpt): string {
  return String((isDnssecOk ? 1 : 0) + ((flags & FLAG.CD) === 0 ? 0 : 2) + ((flags & AD) === 0 ? 0 : 4));
}

/** Asks for no more than passes every path without fragments, which are easy to forge and often lost. In place. */
export function capUdpOctets(message: Buffer, { at }: ClientOpt): void {
  if (at !== undefined && message.readUInt16BE(at + 3) > MAX_UDP_OCTETS) message.writeUInt16BE(MAX_UDP_OCTETS, at + 3);
}
