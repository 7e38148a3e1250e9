import type { IpFamily } from "#proto/ip.ts";
import type { Frontend } from "#agent/compile/table.ts";
import { ipWord, portWord } from "../iptables/names.ts";
import type { Protocol } from "#proto/meta.ts";
import { readMark } from "./names.ts";

/** Virtual servers, and the lines of `ipvsadm -R` that make what the kernel holds what is wanted. Pure. */

/** `-t 10.96.0.10:80`, `-u [fd00:96::10]:53`, or a mark. */
export type ServerKey = string | number;

export interface Server {
  readonly key: ServerKey;
  readonly scheduler: string;
  /** `sh-fallback` or "". */
  readonly flags: string;
  /** Seconds; 0 = none. */
  readonly persistence: number;
  /** `10.200.1.11:8080` → weight; 0 = it keeps what it has and gets nothing new. */
  readonly reals: ReadonlyMap<string, number>;
  /** The address of a load balancer, which must stay this host's for as long as there are connections. */
  readonly address: string | undefined;
}

/** What the kernel holds. */
export interface HeldServer {
  scheduler: string;
  flags: string;
  persistence: number;
  readonly reals: Map<string, number>;
  readonly address: string | undefined;
}

/** `first` can be done at once; `last` only when nobody is sent there any more. */
export interface ServerEdits {
  readonly first: string[];
  readonly last: string[];
}

/** Moves `held` to what it is after the lines: an entry is left where connections still run. */
export function editServer(
  held: Map<ServerKey, HeldServer>,
  { key, next, family }: { readonly key: ServerKey; readonly next: Server | undefined; readonly family: IpFamily },
): ServerEdits {
  const edits: ServerEdits = { first: [], last: [] };
  const name = nameOf(key, family);
  const before = held.get(key);
  if (!next) {
    if (before) takeAway(held, { key, before, edits, name });
    return edits;
  }
  const now = before ?? { ...wordsOf(next), reals: new Map<string, number>(), address: next.address };
  if (!before) edits.first.push(`-A ${name} ${definitionOf(next)}`);
  else if (definitionOf(before) !== definitionOf(next)) edits.first.push(`-E ${name} ${definitionOf(next)}`);
  held.set(key, now);
  Object.assign(now, wordsOf(next));
  for (const [real, weight] of next.reals) {
    const was = now.reals.get(real);
    if (was !== weight) edits.first.push(`${was === undefined ? "-a" : "-e"} ${name} ${realOf(real, weight)}`);
    now.reals.set(real, weight);
  }
  // While some take new connections; when the last one goes, its clients are refused first.
  const lines = [...next.reals.values()].some((weight) => weight > 0) ? edits.first : edits.last;
  for (const [real, weight] of now.reals)
    if (!next.reals.has(real)) lines.push(...retire(now, { real, weight, name, atOnce: endsAtOnce(key) }));
  return edits;
}

/** What holds nothing any more: real servers with weight 0 that are not wanted, and servers without any. `busy`: has it connections? */
export function editIdle(
  held: Map<ServerKey, HeldServer>,
  { key, next, family, busy }: { key: ServerKey; next: Server | undefined; family: IpFamily; busy: (real: string) => boolean },
): string[] {
  const now = held.get(key);
  const lines: string[] = [];
  if (!now) return lines;
  const name = nameOf(key, family);
  for (const [real, weight] of now.reals) {
    if (weight > 0 || next?.reals.has(real) === true || busy(real)) continue;
    lines.push(`-d ${name} -r ${real}`);
    now.reals.delete(real);
  }
  if (next || now.reals.size > 0) return lines;
  held.delete(key);
  return [`-D ${name}`];
}

/** Is something of it only waiting for its connections to end? */
export function isDraining(held: HeldServer, next: Server | undefined): boolean {
  return !next || [...held.reals.keys()].some((real) => !next.reals.has(real));
}

export function protocolOf(key: ServerKey): Protocol {
  if (typeof key === "number") return readMark(key)?.protocol ?? "TCP";
  return key.startsWith("-u") ? "UDP" : key.startsWith("-t") ? "TCP" : "SCTP";
}

/** UDP has no end that one could wait for: a real server that goes takes its flows along. Others stay with weight 0 until they are idle. */
function endsAtOnce(key: ServerKey): boolean {
  return protocolOf(key) === "UDP";
}

const OPTIONS = { TCP: "-t", UDP: "-u", SCTP: "--sctp-service" } as const;

export function serverWord({ protocol, address, port }: Pick<Frontend, "protocol" | "address" | "port">): string {
  return `${OPTIONS[protocol]} ${realWord({ address, port })}`;
}

/** `10.200.1.11:8080`, `[fd30::1]:8080` */
export function realWord({ address, port }: { readonly address: string; readonly port: number }): string {
  const ip = ipWord(address);
  return `${ip.includes(":") ? `[${ip}]` : ip}:${portWord(port)}`;
}

function nameOf(key: ServerKey, family: IpFamily): string {
  return typeof key === "number" ? `-f ${key}${family === "IPv6" ? " -6" : ""}` : key;
}

function wordsOf({ scheduler, flags, persistence }: Server): Pick<HeldServer, "scheduler" | "flags" | "persistence"> {
  return { scheduler, flags, persistence };
}

/** As ipvsadm takes it. */
export function definitionOf({ scheduler, flags, persistence }: Pick<Server, "scheduler" | "flags" | "persistence">): string {
  return `-s ${scheduler}${flags === "" ? "" : ` -b ${flags}`}${persistence === 0 ? "" : ` -p ${persistence}`}`;
}

function realOf(real: string, weight: number): string {
  return `-r ${real} -m -w ${weight}`;
}

function takeAway(
  held: Map<ServerKey, HeldServer>,
  { key, before, edits, name }: { key: ServerKey; before: HeldServer; edits: ServerEdits; name: string },
): void {
  if (endsAtOnce(key) || before.reals.size === 0) {
    held.delete(key);
    edits.last.push(`-D ${name}`);
    return;
  }
  for (const [real, weight] of before.reals) edits.last.push(...retire(before, { real, weight, name, atOnce: false }));
}

function retire(
  { reals }: HeldServer,
  { real, weight, name, atOnce }: { real: string; weight: number; name: string; atOnce: boolean },
): string[] {
  if (atOnce) {
    reals.delete(real);
    return [`-d ${name} -r ${real}`];
  }
  reals.set(real, 0);
  return weight === 0 ? [] : [`-e ${name} ${realOf(real, 0)}`];
}
