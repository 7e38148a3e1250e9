import { encodeAnyRefusal } from "./codec.ts";
import { wireOfKey } from "./name.ts";
import type { NameKey } from "./name.ts";
import { HEADER_OCTETS, RCODE, TYPE } from "./protocol.ts";
import type { Rcode } from "./protocol.ts";
import type { Query } from "./query.ts";
import type { RecordOrder, RecordSet } from "./record-set.ts";
import type { ZoneView } from "./zone.ts";

/** Whole records, ready to be put one after the other. */
export interface Answer {
  readonly rcode: Rcode;
  readonly answers: readonly Buffer[];
  readonly authority: readonly Buffer[];
  readonly additional: readonly Buffer[];
  /** Until when it is the answer to this question: until the name changes, until anything does, or not beyond this one time. */
  readonly lasts: "name" | "zone" | "once";
  /** The answers are equals, of which each client may get another one first. */
  readonly turns: boolean;
}

export type Outcome =
  | { readonly kind: "answer"; readonly answer: Answer }
  /** Not a name of ours. */
  | { readonly kind: "forward" }
  /** An ExternalName: the records of `target`, which is not ours, belong behind `aliases`. */
  | { readonly kind: "follow"; readonly aliases: readonly Buffer[]; readonly target: Buffer };

const NONE: readonly Buffer[] = [];
const EMPTY: Answer = { rcode: RCODE.NOERROR, answers: NONE, authority: NONE, additional: NONE, lasts: "once", turns: false };
const MAX_ALIASES = 8;
const POINTER = 0xc000;
const anyRefusal = Buffer.concat([Buffer.of(0xc0, 0x0c), encodeAnyRefusal()]);

/** What the question gets. `random`: from 0 to below 1. */
export function answerQuery(query: Query, view: ZoneView, random: () => number): Outcome {
  const home = view.zoneOf(query.key, query.labels);
  if (home === undefined) return view.exists(query.key) ? answered(ofReverseName(query, view, random)) : { kind: "forward" };
  const set = view.recordsOf(query.key, query.type);
  if (set) {
    const isPointing = query.type === TYPE.SRV || query.type === TYPE.NS;
    const lasts = isPointing || query.type === TYPE.SOA ? "zone" : "name";
    return answered({ ...equals(set, random, lasts), additional: isPointing ? addressesOf(set.targets, view) : NONE });
  }
  const soa = (): readonly Buffer[] => [soaRecord(view.soa(query.key.slice(home)), home)];
  const alias = view.recordsOf(query.key, TYPE.CNAME);
  if (alias) return followAlias(query, alias, view, random);
  if (!view.exists(query.key)) return answered(negative(view, soa));
  if (query.type === TYPE.ANY) return answered({ ...EMPTY, answers: [anyRefusal] });
  return answered({ ...EMPTY, authority: soa(), lasts: "zone" });
}

/** The reverse name of an endpoint outside the service range. It is ours alone, as if it were a zone: others, who do not know it, would say NXDOMAIN. */
function ofReverseName(query: Query, view: ZoneView, random: () => number): Answer {
  const known = query.type === TYPE.PTR ? view.recordsOf(query.key, TYPE.PTR) : undefined;
  if (known) return equals(known, random, "name");
  if (query.type === TYPE.ANY) return { ...EMPTY, answers: [anyRefusal] };
  return { ...EMPTY, authority: [soaRecord(view.soa(view.apex), 0)], lasts: "zone" };
}

function equals({ asked, order, untilMs }: RecordSet, random: () => number, lasts: Answer["lasts"]): Answer {
  const isOnce = order !== undefined || untilMs !== undefined; // in another order, or other ones of them, the next time
  return { ...EMPTY, answers: arranged(asked, order, random), lasts: isOnce ? "once" : lasts, turns: asked.length > 1 };
}

/** A name that is not there. Before the state is complete that proves nothing, and NXDOMAIN would be believed. */
function negative(view: ZoneView, soa: () => readonly Buffer[]): Answer {
  return view.synced ? { ...EMPTY, rcode: RCODE.NXDOMAIN, authority: soa() } : { ...EMPTY, rcode: RCODE.SERVFAIL };
}

/** CNAME first, then what it leads to, for the types that clients follow it for. */
function followAlias(query: Query, first: RecordSet, view: ZoneView, random: () => number): Outcome {
  const isFollowed = query.type === TYPE.A || query.type === TYPE.AAAA;
  const [target] = first.targets;
  if (!isFollowed || target === undefined) return answered({ ...EMPTY, answers: first.asked, lasts: "name" });
  return followChain(target, first.asked, query, view, random);
}

/** What a chain of `before` that has come to `target` gets, as far as it goes through names of ours. */
export function followChain(target: NameKey, before: readonly Buffer[], query: Query, view: ZoneView, random: () => number): Outcome {
  const aliases = [...before];
  let key = target;
  for (let i = 1; i <= MAX_ALIASES; i++) {
    const zoneAt = view.zoneOf(key, labelsOf(key));
    if (zoneAt === undefined) return { kind: "follow", aliases, target: wireOfKey(key) };
    const set = view.recordsOf(key, query.type);
    if (set) return answered({ ...EMPTY, answers: [...aliases, ...arranged(set.named, set.order, random)] });
    const alias = view.recordsOf(key, TYPE.CNAME);
    const next = alias?.targets[0];
    if (!alias || next === undefined) {
      const soa = (): readonly Buffer[] => soaOfChain(key.slice(zoneAt), query, view);
      const end = view.exists(key) ? { ...EMPTY, authority: soa() } : negative(view, soa);
      return answered({ ...end, answers: aliases });
    }
    if (i < MAX_ALIASES) aliases.push(...alias.named);
    key = next;
  }
  return answered({ ...EMPTY, rcode: RCODE.SERVFAIL, answers: aliases }); // a chain without an end
}

function addressesOf(targets: readonly NameKey[], view: ZoneView): readonly Buffer[] {
  return targets.flatMap((key) => [...(view.recordsOf(key, TYPE.A)?.named ?? NONE), ...(view.recordsOf(key, TYPE.AAAA)?.named ?? NONE)]);
}

/** Of the zone in which the chain ends, which may be another one of ours than the question's. */
function soaOfChain(apex: NameKey, query: Query, view: ZoneView): readonly Buffer[] {
  const soa = view.soa(apex);
  const home = view.zoneOf(query.key, query.labels) ?? 0;
  return [apex === query.key.slice(home) ? soaRecord(soa, home) : Buffer.concat([wireOfKey(apex), soa])];
}

/** The owner is a pointer into the question, so that it has the question's case. */
function soaRecord(soa: Buffer, at: number): Buffer {
  const record = Buffer.allocUnsafe(2 + soa.length);
  record.writeUInt16BE(POINTER | (HEADER_OCTETS + at), 0);
  soa.copy(record, 2);
  return record;
}

/** Clients take the first address: each answer starts with another one, or with those that are wanted more. */
function arranged(records: readonly Buffer[], order: RecordOrder | undefined, random: () => number): readonly Buffer[] {
  if (records.length < 2) return records;
  if (order && "near" in order)
    return [...arranged(records.slice(0, order.near), undefined, random), ...arranged(records.slice(order.near), undefined, random)];
  const first = order ? drawn(order.weights, random()) : Math.floor(random() * records.length);
  return first === 0 ? records : [...records.slice(first), ...records.slice(0, first)];
}

/** Which of them, each as often as its weight says; any, where all are 0. */
function drawn(weights: readonly number[], share: number): number {
  const sum = weights.reduce((a, b) => a + b, 0);
  let left = share * sum;
  const found = weights.findIndex((weight) => (left -= weight) < 0);
  return found >= 0 ? found : Math.floor(share * weights.length);
}

function labelsOf(key: NameKey): number[] {
  const starts: number[] = [];
  for (let at = 0; key.charCodeAt(at) > 0; at += key.charCodeAt(at) + 1) starts.push(at);
  return starts;
}

function answered(answer: Answer): Outcome {
  return { kind: "answer", answer };
}
