import type { IpFamily } from "#proto/ip.ts";
import type { Frontend, HostTable } from "#agent/compile/table.ts";
import { protocolWord } from "../iptables/names.ts";
import { healthEntries, ofFamily, wantedOf, type Entry } from "./legs.ts";
import { Marks, placeOfEntry, TURN } from "./marks.ts";
import { MARKS, SET_NAMES, setWord, SETS, type SetName } from "./names.ts";
import { editIdle, editServer, isDraining, protocolOf, type HeldServer, type Server, type ServerKey } from "./servers.ts";

/** What is wanted and what the kernel holds, and the lines from one to the other. Reads nothing; a change costs what it touches. */

/** What the kernel holds of ours. */
export interface Held {
  readonly servers: Map<ServerKey, HeldServer>;
  /** set → entry → mark, 0 where the set has none. */
  readonly sets: Map<SetName, Map<string, number>>;
}

/** In the order in which it must be done. "" = nothing. */
export interface Steps {
  /** ipset: what the way behind the virtual servers needs, and who may no longer come in. */
  readonly prepare: string;
  /** ipvsadm: what can be reached is more, or is another. */
  readonly open: string;
  /** ipset: who is sent where. */
  readonly turn: string;
  /** ipvsadm: what nobody is sent to any more. */
  readonly close: string;
  /** Addresses that are this host's from now on, and no more. */
  readonly addresses: { readonly added: readonly string[]; readonly removed: readonly string[] };
}

/** Entries without which a connection that is let through would go wrong. */
const BEHIND: ReadonlySet<SetName> = new Set(["BACKENDS", "VIPS", "GUARDED"]);

interface Uses {
  count: number;
  mark: number;
}

export class IpvsState {
  readonly #family: IpFamily;
  readonly #host: HostTable;
  readonly #hasScheduler: (name: string) => boolean;
  readonly #held: Held;
  readonly #servers = new Map<ServerKey, { server: Server; uses: number }>();
  readonly #entries = new Map<SetName, Map<string, Uses>>(SET_NAMES.map((set) => [set, new Map()]));
  readonly #marks: Marks;
  #touchedServers = new Set<ServerKey>();
  #touchedEntries = new Map<SetName, Set<string>>();
  /** Servers that hold something which only waits for its connections to end. */
  readonly #draining = new Set<ServerKey>();

  constructor(family: IpFamily, options: { host: HostTable; hasScheduler: (name: string) => boolean; held?: Held; marks?: Marks }) {
    this.#family = family;
    this.#host = options.host;
    this.#hasScheduler = options.hasScheduler;
    this.#held = options.held ?? { servers: new Map(), sets: new Map() };
    this.#marks = options.marks ?? new Marks();
    this.#marks.learn(this.#held);
    for (const set of SET_NAMES) if (!this.#held.sets.has(set)) this.#held.sets.set(set, new Map());
    this.#touchAll();
    for (const [key, { reals }] of this.#held.servers) for (const real of reals.keys()) this.#backend(key, real, 1);
    for (const cidr of ofFamily(options.host.serviceCidrs, { family })) this.#enter({ set: "VIPS", text: cidr }, 1);
  }

  /** What goes is told before what comes: a place may go from one service to another in one change. */
  remove(frontend: Frontend): void {
    const { servers, entries } = wantedOf(frontend, this.#means());
    for (const entry of entries) this.#enter(entry, -1);
    for (const { key } of servers) {
      this.#touchedServers.add(key);
      const wanted = this.#servers.get(key);
      if (wanted && --wanted.uses === 0) this.#servers.delete(key);
    }
  }

  put(frontend: Frontend): void {
    const { servers, entries } = wantedOf(frontend, this.#means());
    for (const entry of entries) this.#enter(entry, 1);
    for (const server of servers) {
      this.#touchedServers.add(server.key);
      this.#servers.set(server.key, { server, uses: (this.#servers.get(server.key)?.uses ?? 0) + 1 });
    }
  }

  removeHealthPort(port: number): void {
    for (const entry of healthEntries(port, { host: this.#host, family: this.#family })) this.#enter(entry, -1);
  }

  putHealthPort(port: number): void {
    for (const entry of healthEntries(port, { host: this.#host, family: this.#family })) this.#enter(entry, 1);
  }

  /** The lines that make the kernel hold what is wanted; from then on it counts as held. */
  takeSteps(): Steps {
    const open: string[] = [];
    const close: string[] = [];
    const added = new Set<ServerKey>();
    for (const key of this.#touchedServers) {
      if (!this.#held.servers.has(key)) added.add(key);
      const edits = this.#edit(key);
      open.push(...edits.first);
      close.push(...edits.last);
    }
    this.#touchedServers = new Set();
    const sets = this.#takeEntries(added);
    const merged = open.length === 0 ? { prepare: "", turn: sets.prepare + sets.turn } : sets;
    return { ...merged, open: lines(open), close: lines(close), addresses: sets.addresses };
  }

  /** Takes away what has become idle; `busy` says of a real server whether it has connections. */
  takeIdle(busy: (key: ServerKey, real: string) => boolean): Steps {
    const close: string[] = [];
    for (const key of this.#draining) {
      const before = [...(this.#held.servers.get(key)?.reals.keys() ?? [])];
      const address = this.#held.servers.get(key)?.address;
      const next = this.#servers.get(key)?.server;
      close.push(...editIdle(this.#held.servers, { key, next, family: this.#family, busy: (real) => busy(key, real) }));
      const held = this.#held.servers.get(key);
      for (const real of before) if (!held?.reals.has(real)) this.#backend(key, real, -1);
      if (held && isDraining(held, next)) continue;
      this.#draining.delete(key);
      if (!held) this.#gone(key, address);
    }
    const { prepare, turn, addresses } = this.#takeEntries(new Set());
    return { prepare: "", open: "", turn: prepare + turn, close: lines(close), addresses };
  }

  get draining(): ReadonlySet<ServerKey> {
    return this.#draining;
  }

  get servers(): ReadonlyMap<ServerKey, HeldServer> {
    return this.#held.servers;
  }

  /** Are there addresses that are this host's own only by a mark? */
  get hasMarkedAddresses(): boolean {
    return this.entriesOf("EXTERNAL").size + this.entriesOf("GUARDED").size > 0;
  }

  entriesOf(set: SetName): ReadonlyMap<string, number> {
    return this.#held.sets.get(set) ?? new Map<string, number>();
  }

  #means() {
    return {
      host: this.#host,
      hasScheduler: this.#hasScheduler,
      markOf: (leg: string, { protocol }: Frontend) => this.#marks.of(leg, protocol),
    };
  }

  #edit(key: ServerKey): { first: readonly string[]; last: readonly string[] } {
    const before = new Set(this.#held.servers.get(key)?.reals.keys());
    const address = this.#held.servers.get(key)?.address;
    const next = this.#servers.get(key)?.server;
    const edits = editServer(this.#held.servers, { key, next, family: this.#family });
    const held = this.#held.servers.get(key);
    for (const real of before) if (!held?.reals.has(real)) this.#backend(key, real, -1);
    for (const real of held?.reals.keys() ?? []) if (!before.has(real)) this.#backend(key, real, 1);
    if (held && isDraining(held, next)) this.#draining.add(key);
    else this.#draining.delete(key);
    if (!held) this.#gone(key, address);
    return edits;
  }

  #gone(key: ServerKey, address: string | undefined): void {
    if (typeof key === "number" && !this.#servers.has(key)) this.#marks.release(key);
    if (address !== undefined) this.#touch("VIPS", address);
  }

  #backend(key: ServerKey, real: string, by: 1 | -1): void {
    const at = real.lastIndexOf(":");
    const address = real.slice(0, at).replace(/^\[|\]$/g, "");
    this.#enter({ set: "BACKENDS", text: `${address},${protocolWord(protocolOf(key))}:${real.slice(at + 1)}` }, by);
  }

  #enter({ set, text, mark = 0 }: Entry, by: 1 | -1): void {
    const entries = this.#entries.get(set) ?? new Map<string, Uses>();
    this.#touch(set, text);
    if (set === "GUARDED") this.#touch("VIPS", text); // which may have been kept for connections of a service before
    const uses = entries.get(text) ?? { count: 0, mark };
    uses.count += by;
    if (by > 0) uses.mark = mark;
    if (uses.count > 0) entries.set(text, uses);
    else entries.delete(text);
  }

  #touch(set: SetName, text: string): void {
    const touched = this.#touchedEntries.get(set);
    if (touched) touched.add(text);
    else this.#touchedEntries.set(set, new Set([text]));
  }

  #touchAll(): void {
    for (const key of this.#held.servers.keys()) this.#touchedServers.add(key);
    for (const [set, entries] of this.#held.sets) for (const text of entries.keys()) this.#touch(set, text);
  }

  /** `added`: servers that are only there when `open` is done. */
  #takeEntries(added: ReadonlySet<ServerKey>): Pick<Steps, "prepare" | "turn" | "addresses"> {
    const prepare: string[] = [];
    const shut: string[] = [];
    const turn: string[] = [];
    const gone: string[] = [];
    const addresses = { added: [] as string[], removed: [] as string[] };
    const keptAddresses = new Set(Array.from(this.#draining, (key) => this.#held.servers.get(key)?.address));
    for (const set of [...BEHIND, ...TURN]) {
      const held = this.#held.sets.get(set) ?? new Map<string, number>();
      for (const text of this.#touchedEntries.get(set) ?? []) {
        const mark = this.#entries.get(set)?.get(text)?.mark;
        if (mark === held.get(text)) continue;
        if (mark !== undefined) {
          (isFirst(set, mark, added) ? prepare : turn).push(`add ${setWord(this.#family, set)} ${text}${markOption(set, mark)}`);
          held.set(text, mark);
        } else {
          if (set === "VIPS" && keptAddresses.has(text) && !this.#entries.get("GUARDED")?.has(text)) continue;
          (this.#isShut(set, text) ? shut : gone).push(`del ${setWord(this.#family, set)} ${text}`);
          held.delete(text);
        }
        if (set === "VIPS") addresses[mark === undefined ? "removed" : "added"].push(text);
      }
    }
    this.#touchedEntries = new Map();
    return { prepare: lines([...prepare, ...shut]), turn: lines([...turn, ...gone]), addresses };
  }

  /** Of a place that is closed but for some, or for all: who comes in by this entry shall not get what is opened next. */
  #isShut(set: SetName, text: string): boolean {
    if (set !== "RANGED" && set !== "RANGED-IN" && set !== "PLACES-IN") return false;
    return this.#entries.get("PLACES")?.get(placeOfEntry(text))?.mark === MARKS.drop;
  }
}

/**
 * Before more can be got at, and it stays so if ipvsadm fails then: who may come in to what is there already, and then that nobody else may. An entry
 * whose server is still to be made waits for it.
 */
function isFirst(set: SetName, mark: number, added: ReadonlySet<ServerKey>): boolean {
  if (set === "RANGED" || set === "RANGED-IN") return !added.has(mark);
  return BEHIND.has(set) || (set === "PLACES" && mark === MARKS.drop);
}

function markOption(set: SetName, mark: number): string {
  return "marks" in SETS[set] ? ` skbmark 0x${mark.toString(16)}` : "";
}

function lines(all: readonly string[]): string {
  return all.map((line) => `${line}\n`).join("");
}
