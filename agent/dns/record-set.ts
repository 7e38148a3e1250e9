import type { RecordData } from "#agent/compile/dns-records.ts";
import { encodeRecord } from "./codec.ts";
import type { RecordBody } from "./codec.ts";
import { keyOfName, wireOfKey } from "./name.ts";
import type { NameKey } from "./name.ts";

/** Records of one name and type, encoded when first asked for and kept until the name changes, or until others need the room. */
export interface RecordSet {
  /** With the question's name as owner. */
  readonly asked: readonly Buffer[];
  /** With the owner's name in full, for messages that ask for another name. */
  readonly named: readonly Buffer[];
  /** Which come first, where that matters. */
  readonly order?: RecordOrder;
  /** Names that the records point at. */
  readonly targets: readonly NameKey[];
  /** These are some of more: until when, in the caller's time. */
  readonly untilMs?: number;
}

/** Where there are too many: from where on, from 0 to below 1, and until when. */
export interface Draw {
  readonly from: number;
  readonly untilMs: number;
}

/** By weight, or so many of them before the others. */
export type RecordOrder = { readonly weights: readonly number[] } | { readonly near: number };

const IN_QUESTION = Buffer.of(0xc0, 0x0c);
/** Clients try a few; who wants to know all endpoints asks the API. Encoding more at the first question would let others wait. */
export const MAX_RECORDS = 1000;
/** Of the two Buffers of each record, beside their octets. */
const RECORD_OCTETS = 250;

/** Of the records of one type; undefined = there are none. */
export function encodeSet(key: NameKey, records: readonly RecordData[], draw: Draw): RecordSet | undefined {
  const virtual = records.filter((record) => record.type === "PTR" && record.of === "virtual-ip");
  const all = virtual.length > 0 ? virtual : records;
  const isPart = all.length > MAX_RECORDS;
  const chosen = nearFirst(isPart ? turned(all, draw.from) : all).slice(0, MAX_RECORDS);
  const order = orderOf(chosen);
  const bodies = chosen.flatMap((record) => encodeRecord(record) ?? []);
  return bodies.length === 0
    ? undefined
    : {
        ...setOf(key, bodies, [...new Set(chosen.flatMap((record) => ("target" in record ? (keyOfName(record.target) ?? []) : [])))]),
        ...(order && { order }),
        ...(isPart && { untilMs: draw.untilMs }),
      };
}

function turned(records: readonly RecordData[], from: number): readonly RecordData[] {
  const first = Math.floor(from * records.length);
  return [...records.slice(first), ...records.slice(0, first)];
}

const isNear = (record: RecordData): boolean => "isNear" in record && record.isNear;

function nearFirst(records: readonly RecordData[]): readonly RecordData[] {
  return records.some(isNear) ? [...records.filter(isNear), ...records.filter((record) => !isNear(record))] : records;
}

function orderOf(records: readonly RecordData[]): RecordOrder | undefined {
  const weights = records.flatMap((record) => (record.type !== "SRV" && "weight" in record ? [record.weight ?? 1] : []));
  if (weights.length > 1 && weights.length === records.length && weights.some((weight) => weight !== weights[0])) return { weights };
  const near = records.filter(isNear).length;
  return near > 0 && near < records.length ? { near } : undefined;
}

export function setOf(key: NameKey, bodies: readonly RecordBody[], targets: readonly NameKey[]): RecordSet {
  const owner = wireOfKey(key);
  return {
    asked: bodies.map((body) => Buffer.concat([IN_QUESTION, body])),
    named: bodies.map((body) => Buffer.concat([owner, body])),
    targets,
  };
}

export function octetsOf({ asked, named }: RecordSet): number {
  return asked.reduce((sum, record, i) => sum + record.length + (named[i]?.length ?? 0) + RECORD_OCTETS, 0);
}
