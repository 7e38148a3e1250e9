import { CLASS_IN, FLAG, HEADER_OCTETS, TYPE } from "./protocol.ts";

export interface QuestionParts {
  /** Wire form. */
  readonly name: Buffer;
  readonly type: number;
  readonly id?: number;
  readonly flags?: number;
  /** Present = with an OPT record that says so much fits. */
  readonly udpOctets?: number;
}

/** A question as clients send it. */
export function encodeQuestion({ name, type, id = 0, flags = FLAG.RD, udpOctets }: QuestionParts): Buffer {
  const header = Buffer.alloc(HEADER_OCTETS);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(flags, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(udpOctets === undefined ? 0 : 1, 10);
  const fixed = Buffer.alloc(4);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(CLASS_IN, 2);
  const opt = Buffer.alloc(udpOctets === undefined ? 0 : 11);
  if (udpOctets !== undefined) {
    opt.writeUInt16BE(TYPE.OPT, 1);
    opt.writeUInt16BE(udpOctets, 3);
  }
  return Buffer.concat([header, name, fixed, opt]);
}
