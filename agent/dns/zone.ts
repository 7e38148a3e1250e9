import type { DnsChange, DnsRecord, RecordData } from "#agent/compile/dns-records.ts";
import { compileDnsDomain } from "#agent/compile/dns-records.ts";
import { encodeSoa } from "./codec.ts";
import type { RecordBody } from "./codec.ts";
import { NameCache } from "./name-cache.ts";
import { dottedName, keyOfName, parentOf } from "./name.ts";
import type { NameKey } from "./name.ts";
import { TYPE } from "./protocol.ts";
import { encodeSet, octetsOf, setOf } from "./record-set.ts";
import type { RecordSet } from "./record-set.ts";
import { reverseZonesOf } from "./reverse-zones.ts";

/** What answers are made from. */
export interface ZoneView {
  readonly synced: boolean;
  /** Where in the key the name of the zone starts that holds it; undefined = none of ours does. */
  zoneOf(key: NameKey, labels: readonly number[]): number | undefined;
  /** Another one whenever anything changes. */
  readonly version: number;
  /** The SOA of the zone with this apex. */
  soa(apex: NameKey): RecordBody;
  /** There are records at the name, or below it. */
  exists(key: NameKey): boolean;
  recordsOf(key: NameKey, type: number): RecordSet | undefined;
}

/** What a source says of a name; without the name, which is the key that it is found by. */
type Held = RecordData & { readonly source: string };

/** There are six of them for each Service: what they take decides what the zone takes (docs/adr/0005-memory.md). */
interface NameNode {
  /** By source. Nearly always one. */
  records: readonly Held[];
  /** How many sources hold the name to exist, and how many names stand directly below it. */
  holds: number;
  /** In one of our zones: its ancestors up to the apex exist, too. */
  readonly inZone: boolean;
}

interface Said {
  readonly recordKeys: readonly NameKey[];
  readonly heldKeys: readonly NameKey[];
}

export interface ZoneOptions {
  readonly domain: string;
  /** Further domains, with the same names below them. */
  readonly moreDomains?: readonly string[] | undefined;
  readonly serviceCidrs: readonly string[];
  readonly dnsIps: readonly string[];
}

const DOMAIN_SOURCE = "domain";
const NO_RECORDS: readonly Held[] = [];
const SET_LIMITS = { names: 20_000, octets: 8 << 20 };

/** All names by key. What a change costs depends on the names that its source has and had, and on nothing else. */
export class ZoneIndex implements ZoneView {
  readonly #apexes: ReadonlyMap<NameKey, string>;
  readonly #sets = new NameCache<RecordSet>(SET_LIMITS);
  readonly #onName: (key: NameKey) => void;
  readonly #nodes = new Map<NameKey, NameNode>();
  readonly #said = new Map<string, Said>();
  /** Sources that have said nothing since `beginAll`. */
  #unconfirmed: Set<string> | undefined;
  #serial: number;
  #synced = false;
  #version = 0;
  /** Encoded when first asked for after a change: most changes are followed by another before anybody asks. */
  readonly #soas = new Map<NameKey, RecordBody>();

  /** `onName`: the records of this name are others now. */
  constructor(
    { domain, moreDomains = [], serviceCidrs, dnsIps }: ZoneOptions,
    serial: number,
    onName: (key: NameKey) => void = () => undefined,
  ) {
    this.#serial = serial;
    this.#onName = onName;
    const domainOf = [
      ...[domain, ...moreDomains].map((name) => [name, name] as const),
      ...serviceCidrs.flatMap(reverseZonesOf).map((name) => [name, domain] as const),
    ];
    this.#apexes = new Map(domainOf.map(([name, of]) => [keyOfName(name) ?? "", of]));
    for (const apex of this.#apexes.keys()) this.#node(apex).holds++; // an apex exists, whatever is below
    this.#say(compileDnsDomain({ domain, moreDomains, dnsIps }), []);
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
    return this.#nodes.size;
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
    this.#unconfirmed = new Set(this.#said.keys());
    this.#unconfirmed.delete(DOMAIN_SOURCE);
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
      gone += this.#said.get(source)?.recordKeys.length ?? 0;
      this.#say({ source, records: [], names: [] }, []);
      this.#unconfirmed?.delete(source);
    }
    this.#unconfirmed = undefined;
    this.#version++;
    return true;
  }

  /** What was said and not taken back, by all but the domain itself. */
  *everything(): Generator<DnsChange> {
    for (const [source, { recordKeys, heldKeys }] of this.#said)
      if (source !== DOMAIN_SOURCE)
        yield { source, records: recordKeys.flatMap((key) => this.#recordsBy(source, key)), names: heldKeys.map(dottedName) };
  }

  #recordsBy(source: string, key: NameKey): DnsRecord[] {
    const name = dottedName(key);
    const own = (this.#nodes.get(key)?.records ?? []).filter((record) => record.source === source);
    return own.map(({ source: _, ...data }) => ({ name, ...data }));
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
    return this.#nodes.has(key);
  }

  recordsOf(key: NameKey, type: number): RecordSet | undefined {
    const node = this.#nodes.get(key);
    if (!node) return undefined;
    if (type === TYPE.SOA) return this.#apexes.has(key) ? setOf(key, [this.soa(key)], []) : undefined; // its serial is of the whole zone
    const known = this.#sets.get(key, type);
    if (known) return known;
    const set = encodeSet(key, node.records, type);
    // That there is none is not remembered: a client may ask for 65,536 types.
    if (set) this.#sets.put(key, type, set, octetsOf(set));
    return set;
  }

  /** Takes what `source` said before back, and says the new. */
  #say({ source, records, names }: DnsChange, leftOut: string[]): void {
    const before = this.#said.get(source);
    const byKey = new Map<NameKey, DnsRecord[]>();
    for (const record of records) {
      const key = keyOfName(record.name);
      if (key === undefined || ("target" in record && keyOfName(record.target) === undefined)) {
        leftOut.push(`${source}: ${record.type} ${record.name} (a label has at most 63 octets, a name 253)`);
        continue;
      }
      const found = byKey.get(key);
      if (found) found.push(record);
      else byKey.set(key, [record]);
    }
    const heldKeys = names.flatMap((name) => keyOfName(name) ?? []);

    // First the new, then away with the old: a name that stays is never removed and made again.
    for (const [key, own] of byKey) this.#setRecords(key, source, own);
    for (const key of heldKeys) this.#hold(key);
    for (const key of before?.recordKeys ?? []) if (!byKey.has(key)) this.#setRecords(key, source, []);
    for (const key of before?.heldKeys ?? []) this.#release(key);
    if (byKey.size + heldKeys.length === 0) this.#said.delete(source);
    // slice: as long as it is, without the room that growing left
    else this.#said.set(source, { recordKeys: [...byKey.keys()].slice(), heldKeys });
  }

  #setRecords(key: NameKey, source: string, records: readonly DnsRecord[]): void {
    const isNew = !this.#nodes.has(key);
    const node = this.#node(key);
    const others = node.records.filter((known) => known.source !== source);
    node.records = others.concat(records.map((record) => heldOf(record, source))); // a literal with `...` would leave room for 17
    this.#sets.drop(key);
    this.#onName(key);
    if (isNew) this.#holdParent(key, node);
    this.#removeIfEmpty(key, node);
  }

  #hold(key: NameKey): void {
    const isNew = !this.#nodes.has(key);
    const node = this.#node(key);
    node.holds++;
    if (isNew) this.#holdParent(key, node);
  }

  #release(key: NameKey): void {
    const node = this.#nodes.get(key);
    if (!node) return;
    node.holds--;
    this.#removeIfEmpty(key, node);
  }

  #removeIfEmpty(key: NameKey, node: NameNode): void {
    if (node.holds > 0 || node.records.length > 0) return;
    this.#nodes.delete(key);
    const parent = this.#parentInZone(key, node);
    if (parent !== undefined) this.#release(parent);
  }

  #holdParent(key: NameKey, node: NameNode): void {
    const parent = this.#parentInZone(key, node);
    if (parent !== undefined) this.#hold(parent);
  }

  /** Names outside our zones (an endpoint's reverse name) stand alone: what is between them and the root is not ours to say. */
  #parentInZone(key: NameKey, node: NameNode): NameKey | undefined {
    return node.inZone && !this.#apexes.has(key) ? parentOf(key) : undefined;
  }

  #node(key: NameKey): NameNode {
    let node = this.#nodes.get(key);
    if (!node) {
      node = { records: NO_RECORDS, holds: 0, inZone: this.#isInZone(key) };
      this.#nodes.set(key, node);
    }
    return node;
  }

  #isInZone(key: NameKey): boolean {
    for (let name: NameKey | undefined = key; name !== undefined; name = parentOf(name)) {
      if (this.#apexes.has(name)) return true;
      const known = this.#nodes.get(name);
      if (known) return known.inZone;
    }
    return false;
  }
}

function heldOf({ name: _, ...record }: DnsRecord, source: string): Held {
  return { ...record, source };
}
