import { encodeAnyRefusal } from "./codec.ts";
import { wireOfKey } from "./name.ts";
import type { NameKey } from "./name.ts";
import { HEADER_OCTETS, RCODE, TYPE } from "./protocol.ts";
import type { Rcode } from "./protocol.ts";
import type { Query } from "./query.ts";
import type { ZoneView } from "./zone.ts";

/** Whole records, ready to be put one after the other. */
export interface Answer {
  readonly rcode: Rcode;
  readonly answers: readonly Buffer[];
  readonly authority: readonly Buffer[];
  readonly additional: readonly Buffer[];
}

export type Outcome =
  | { readonly kind: "answer"; readonly answer: Answer }
  /** Not a name of ours. */
  | { readonly kind: "forward" }
  /** An ExternalName: the records of `target`, which is not ours, belong behind `aliases`. */
  | { readonly kind: "follow"; readonly aliases: readonly Buffer[]; readonly target: Buffer };

const NONE: readonly Buffer[] = [];
const MAX_ALIASES = 8;
const POINTER = 0xc000;
const anyRefusal = Buffer.concat([Buffer.of(0xc0, 0x0c), encodeAnyRefusal()]);

/** What the question gets. `random`: from 0 to below 1. */
export function answerQuery(query: Query, view: ZoneView, random: () => number): Outcome {
  const home = view.zoneOf(query.key, query.labels);
  if (home === undefined) {
    // The reverse name of an endpoint outside the service range: we know it, but what else is there is for others to say.
    const known = query.type === TYPE.PTR ? view.recordsOf(query.key, TYPE.PTR) : undefined;
    return known
      ? answered({ rcode: RCODE.NOERROR, answers: shuffled(known.asked, random), authority: NONE, additional: NONE })
      : { kind: "forward" };
  }
  const set = view.recordsOf(query.key, query.type);
  if (set) {
    const additional = query.type === TYPE.SRV || query.type === TYPE.NS ? addressesOf(set.targets, view) : NONE;
    return answered({ rcode: RCODE.NOERROR, answers: shuffled(set.asked, random), authority: NONE, additional });
  }
  const soa = (): readonly Buffer[] => [soaRecord(view.soa(), home)];
  if (view.recordsOf(query.key, TYPE.CNAME)) return followAlias(query, view, soa, random);
  if (!view.exists(query.key)) return negative(view, soa);
  if (query.type === TYPE.ANY) return answered({ rcode: RCODE.NOERROR, answers: [anyRefusal], authority: NONE, additional: NONE });
  return answered({ rcode: RCODE.NOERROR, answers: NONE, authority: soa(), additional: NONE });
}

/** A name that is not there. Before the state is complete that proves nothing, and NXDOMAIN would be believed. */
function negative(view: ZoneView, soa: () => readonly Buffer[], answers: readonly Buffer[] = NONE): Outcome {
  return view.synced
    ? answered({ rcode: RCODE.NXDOMAIN, answers, authority: soa(), additional: NONE })
    : answered({ rcode: RCODE.SERVFAIL, answers, authority: NONE, additional: NONE });
}

/** CNAME first, then what it leads to, for the types that clients follow it for. */
function followAlias(query: Query, view: ZoneView, soa: () => readonly Buffer[], random: () => number): Outcome {
  const aliases: Buffer[] = [];
  let key: NameKey = query.key;
  const wantsAddress = query.type === TYPE.A || query.type === TYPE.AAAA;
  for (let i = 0; i < MAX_ALIASES; i++) {
    const alias = view.recordsOf(key, TYPE.CNAME);
    const target = alias?.targets[0];
    if (!alias || target === undefined) break;
    aliases.push(...(i === 0 ? alias.asked : alias.named));
    if (!wantsAddress) return answered({ rcode: RCODE.NOERROR, answers: aliases, authority: NONE, additional: NONE });
    key = target;
    if (view.zoneOf(key, labelsOf(key)) === undefined) return { kind: "follow", aliases, target: wireOfKey(key) };
    const set = view.recordsOf(key, query.type);
    if (set)
      return answered({ rcode: RCODE.NOERROR, answers: [...aliases, ...shuffled(set.named, random)], authority: NONE, additional: NONE });
    if (!view.exists(key)) return negative(view, soa, aliases);
  }
  // A chain without an end gets what was found of it; one that ends where there is no such record is NODATA.
  return view.recordsOf(key, TYPE.CNAME)
    ? answered({ rcode: RCODE.SERVFAIL, answers: aliases, authority: NONE, additional: NONE })
    : answered({ rcode: RCODE.NOERROR, answers: aliases, authority: soa(), additional: NONE });
}

function addressesOf(targets: readonly NameKey[], view: ZoneView): readonly Buffer[] {
  return targets.flatMap((key) => [...(view.recordsOf(key, TYPE.A)?.named ?? NONE), ...(view.recordsOf(key, TYPE.AAAA)?.named ?? NONE)]);
}

/** The owner is a pointer into the question, so that it has the question's case. */
function soaRecord(soa: Buffer, at: number): Buffer {
  const record = Buffer.allocUnsafe(2 + soa.length);
  record.writeUInt16BE(POINTER | (HEADER_OCTETS + at), 0);
  soa.copy(record, 2);
  return record;
}

/** Clients take the first address: each answer starts with another one. */
function shuffled(records: readonly Buffer[], random: () => number): readonly Buffer[] {
  if (records.length < 2) return records;
  const mixed = [...records];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const [a, b] = [mixed[i], mixed[j]];
    if (a && b) [mixed[i], mixed[j]] = [b, a];
  }
  return mixed;
}

function labelsOf(key: NameKey): number[] {
  const starts: number[] = [];
  for (let at = 0; key.charCodeAt(at) > 0; at += key.charCodeAt(at) + 1) starts.push(at);
  return starts;
}

function answered(answer: Answer): Outcome {
  return { kind: "answer", answer };
}
