import type { DnsChange, DnsRecord, RecordData } from "#agent/compile/dns-records.ts";
import { compileDnsDomain } from "#agent/compile/dns-records.ts";
import { encodeSoa, typeNamed } from "./codec.ts";
import type { RecordBody } from "./codec.ts";
import { NameCache } from "./name-cache.ts";
import { NameIndex } from "./name-index.ts";
import type { Source } from "./name-index.ts";
import { dottedName, keyOfName } from "./name.ts";
import type { NameKey } from "./name.ts";
import { TTL_SECONDS, TYPE } from "./protocol.ts";
import { encodeSet, MAX_RECORDS, octetsOf, setOf } from "./record-set.ts";
import type { RecordSet } from "./record-set.ts";
import { reverseZonesOf } from "./reverse-zones.ts";
import { packSaid, recordsAt, saysNear, unpackSaid } from "./said.ts";

/** What answers are made from. */
export interface ZoneView {
  readonly synced: boolean;
  /** Where in the key the name of the zone starts that holds it; undefined = none of ours does. */
  zoneOf(key: NameKey, labels: readonly number[]): number | undefined;
  /** Another one whenever anything changes. */
  readonly version: number;
  /** Of the first domain. */
  readonly apex: NameKey;
  /** The SOA of the zone with this apex. */
  soa(apex: NameKey): RecordBody;
  /** There are records at the name, or below it. */
  exists(key: NameKey): boolean;
  recordsOf(key: NameKey, type: number): RecordSet | undefined;
}

export interface ZoneOptions {
  readonly domain: string;
  /** Further domains, with the same names below them. */
  readonly moreDomains?: readonly string[] | undefined;
  readonly serviceCidrs: readonly string[];
  readonly dnsIps: readonly string[];
  /** From 0 to below 1. */
  readonly random?: () => number;
  readonly nowMs?: () => number;
}

const DOMAIN_SOURCE = "domain";
/** What they are follows from how we were started, so nobody says it and nobody takes it back. */
const REVERSE_SOURCE = "reverse zones";
const SET_LIMITS = { names: 20_000, octets: 8 << 20 };
/** Fewer are encoded again each time: most names have one record, and the whole reply to it is kept (wire-cache.ts). */
const KEPT_RECORDS = 2;

/** What every source says, and which names that makes. What a change costs depends on the names that its source has and had, and on nothing else. */
export class ZoneIndex implements ZoneView {
  readonly apex: NameKey;
  readonly #apexes: ReadonlyMap<NameKey, string>;
  readonly #sets = new NameCache<RecordSet>(SET_LIMITS);
  readonly #onName: (key: NameKey) => void;
  readonly #random: () => number;
  readonly #nowMs: () => number;
  readonly #names: NameIndex;
  readonly #sources = new Map<string, Source>();
  /** Sources that have said nothing since `beginAll`. */
  #unconfirmed: Set<string> | undefined;
  #serial: number;
  #synced = false;
  #version = 0;
  /** Encoded when first asked for after a change: most changes are followed by another before anybody asks. */
  readonly #soas = new Map<NameKey, RecordBody>();

  /** `onName`: the records of this name are others now. */
  constructor(
    { domain, moreDomains = [], serviceCidrs, dnsIps, random = Math.random, nowMs = () => performance.now() }: ZoneOptions,
    serial: number,
    onName: (key: NameKey) => void = () => undefined,
  ) {
    this.#serial = serial;
    this.#onName = onName;
    this.#random = random;
    this.#nowMs = nowMs;
    this.apex = keyOfName(domain) ?? "";
    const reverseZones = serviceCidrs.flatMap(reverseZonesOf);
    const domainOf = [
      ...[domain, ...moreDomains].map((name) => [name, name] as const),
      ...reverseZones.map((name) => [name, domain] as const),
    ];
    this.#apexes = new Map(domainOf.map(([name, of]) => [keyOfName(name) ?? "", of]));
    this.#names = new NameIndex(this.#apexes);
    for (const apex of this.#apexes.keys()) this.#names.hold(apex); // an apex exists, whatever is below
    this.#say(compileDnsDomain({ domain, moreDomains, dnsIps }), []);
    const servers = reverseZones.map((name) => ({ name, type: "NS", target: `ns.dns.${domain}` }) as const);
    this.#say({ source: REVERSE_SOURCE, records: servers, names: [] }, []);
  }

  get synced(): boolean {
    return this.#synced;
  }

  set synced(synced: boolean) {
    this.#synced = synced;
    this.#version++;
  }

  get version(): number {
    return this.#version;
  }

  get size(): number {
    return this.#names.size;
  }

  /** All at once. Returns what was left out, because DNS cannot carry it. `serial`: seconds since 1970. */
  apply(changes: Iterable<DnsChange>, { all, synced, serial }: { all: boolean; synced: boolean; serial: number }): readonly string[] {
    if (all) this.beginAll();
    const leftOut = this.say(changes, serial);
    if (all) this.endAll(Infinity);
    this.synced = synced;
    return leftOut;
  }

  /** What comes until `endAll` is everything there is: who says nothing in between goes. Meanwhile what was there is answered. */
  beginAll(): void {
    this.#unconfirmed = new Set(this.#sources.keys());
    for (const own of [DOMAIN_SOURCE, REVERSE_SOURCE]) this.#unconfirmed.delete(own);
  }

  say(changes: Iterable<DnsChange>, serial: number): readonly string[] {
    const leftOut: string[] = [];
    for (const change of changes) {
      this.#unconfirmed?.delete(change.source);
      this.#say(change, leftOut);
    }
    if (this.#serial !== serial) this.#soas.clear();
    this.#serial = serial;
    this.#version++;
    return leftOut;
  }

  /** Takes away about `names` of the names that nobody says any more; false = there are more. */
  endAll(names: number): boolean {
    let gone = 0;
    for (const source of this.#unconfirmed ?? []) {
      if (gone >= names) return false;
      gone += this.#say({ source, records: [], names: [] }, []);
      this.#unconfirmed?.delete(source);
    }
    this.#unconfirmed = undefined;
    this.#version++;
    return true;
  }

  /** What was said and not taken back, by all but the domain itself. */
  *everything(): Generator<DnsChange> {
    for (const { name, said } of this.#sources.values())
      if (name !== DOMAIN_SOURCE && name !== REVERSE_SOURCE) yield { source: name, ...unpackSaid(said) };
  }

  zoneOf(key: NameKey, labels: readonly number[]): number | undefined {
    return labels.find((at) => this.#apexes.has(at === 0 ? key : key.slice(at)));
  }

  soa(apex: NameKey): RecordBody {
    const known = this.#soas.get(apex) ?? encodeSoa(this.#apexes.get(apex) ?? "", this.#serial);
    this.#soas.set(apex, known);
    return known;
  }

  exists(key: NameKey): boolean {
    return this.#names.has(key);
  }

  recordsOf(key: NameKey, type: number): RecordSet | undefined {
    if (type === TYPE.SOA) return this.#apexes.has(key) ? setOf(key, [this.soa(key)], []) : undefined; // its serial is of the whole zone
    const word = typeNamed(type);
    if (word === undefined) return undefined;
    const known = this.#sets.get(key, type);
    if (known && (known.untilMs === undefined || this.#nowMs() < known.untilMs)) return known;
    const sources = this.#names.sourcesOf(key);
    if (sources.length === 0) return undefined;
    const from = this.#random();
    const set = encodeSet(key, enoughOf(sources, dottedName(key), word, from), { from, untilMs: this.#nowMs() + TTL_SECONDS * 1000 });
    if (set && set.asked.length >= KEPT_RECORDS) this.#sets.put(key, type, set, octetsOf(set));
    return set;
  }

  /** Takes what `source` said before back, and says the new. Returns how many records there were. */
  #say({ source: name, records, names }: DnsChange, leftOut: string[]): number {
    const source = this.#sources.get(name) ?? { name, said: "" };
    const before = unpackSaid(source.said);
    const kept: DnsRecord[] = [];
    const keys = new Set<NameKey>();
    for (const record of records) {
      const key = keyOfName(record.name);
      if (key === undefined || ("target" in record && keyOfName(record.target) === undefined)) {
        leftOut.push(`${name}: ${record.type} ${record.name} (a label has at most 63 octets, a name 253)`);
        continue;
      }
      keys.add(key);
      kept.push(record);
    }
    const held = names.filter((one) => keyOfName(one) !== undefined);

    // First the new, then away with the old: a name that stays is never removed and made again.
    source.said = packSaid(kept, held);
    for (const key of keys) {
      this.#names.add(key, source);
      this.#changed(key);
    }
    for (const one of held) this.#names.hold(keyOfName(one) ?? "");
    for (const key of new Set(before.records.map((record) => keyOfName(record.name) ?? "")))
      if (!keys.has(key)) {
        this.#names.remove(key, source);
        this.#changed(key);
      }
    for (const one of before.names) this.#names.release(keyOfName(one) ?? "");
    if (keys.size + held.length === 0) this.#sources.delete(name);
    else this.#sources.set(name, source);
    return before.records.length;
  }

  #changed(key: NameKey): void {
    this.#sets.drop(key);
    this.#onName(key);
  }
}

/**
 * The records of a name; of one that has many sources no more are read than can be answered, from a random one on: to read 50,000 takes 30 ms. Those with
 * records that come first are read before the others.
 */
function enoughOf(sources: readonly Source[], name: string, type: RecordData["type"], from: number): readonly RecordData[] {
  const first = Math.floor(from * sources.length);
  const turned = [...sources.slice(first), ...sources.slice(0, first)];
  const [near, others] = [true, false].map((isNear) => turned.filter(({ said }) => saysNear(said) === isNear));
  const records = (near ?? []).flatMap(({ said }) => recordsAt(said, name, type));
  for (const { said } of others ?? []) {
    if (records.length > MAX_RECORDS) break;
    records.push(...recordsAt(said, name, type));
  }
  return records;
}
