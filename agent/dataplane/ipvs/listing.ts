import { contains, formatIp, parseCidr, parseIp, prefixOf, type Cidr, type IpFamily } from "#proto/ip.ts";
import { MARKS, PREFIX, readMark, SET_NAMES, setWord, type SetName } from "./names.ts";
import type { TableName } from "./render.ts";
import type { Held } from "./state.ts";
import { hasOurFlag } from "./schedulers.ts";
import { realWord, type HeldServer, type ServerKey } from "./servers.ts";

/** What the tools and the kernel say, as far as it concerns one family of ours. Pure. */

/** `ipvsadm -Sn`: every virtual server, also those of others. */
export function parseServers(text: string, family: IpFamily): Map<ServerKey, HeldServer> {
  const servers = new Map<ServerKey, HeldServer>();
  for (const line of text.split("\n")) {
    const words = line.trim().split(/\s+/);
    const [verb, option = "", place = "", ...rest] = words;
    const isIpv6 = option === "-f" ? rest.includes("-6") : place.startsWith("[");
    if (isIpv6 !== (family === "IPv6")) continue;
    const key = option === "-f" ? Number(place) : `${option} ${endOf(place)}`;
    if (verb === "-A") servers.set(key, serverOf(rest));
    else if (verb === "-a") addReal(servers.get(key), rest);
  }
  return servers;
}

/**
 * Ours have a mark or a flag of ours, or an address in a range of virtual IPs or of a load balancer of ours, or one that an entry of ours says we gave
 * a virtual server.
 */
export function oursOf(
  servers: ReadonlyMap<ServerKey, HeldServer>,
  { ranges, sets }: { readonly ranges: readonly string[]; readonly sets: Held["sets"] },
): Map<ServerKey, HeldServer> {
  const cidrs = ranges.flatMap((text) => cidrOf(text) ?? []);
  const isOurs = (key: ServerKey, server: HeldServer): boolean => {
    if (typeof key === "number") return readMark(key) !== undefined;
    if (hasOurFlag(server)) return true;
    const place = /^(-t|-u|--sctp-service) (.+):(\d+)$/.exec(key);
    const address = (place?.[2] ?? "").replace(/^\[|\]$/g, "");
    const ip = parseIp(address);
    const protocol = { "-t": "tcp", "-u": "udp" }[place?.[1] ?? ""] ?? "sctp";
    if (ip && cidrs.some((cidr) => contains(cidr, ip))) return true;
    return sets.get("PLACES")?.get(`${address},${protocol}:${place?.[3] ?? ""}`) === MARKS.plain;
  };
  return new Map([...servers].filter(([key, server]) => isOurs(key, server)));
}

/** An address alone is a range of one. */
function cidrOf(text: string): Cidr | undefined {
  const ip = parseIp(text);
  return ip ? prefixOf(ip, ip.family === "IPv4" ? 32 : 128) : parseCidr(text);
}

/** `ipset save`: ours, and which of them there are. */
export function parseSets(text: string, family: IpFamily): Held["sets"] {
  const names = new Map(SET_NAMES.map((set) => [setWord(family, set), set]));
  const sets = new Map<SetName, Map<string, number>>();
  for (const line of text.split("\n")) {
    const [verb, name = "", entry = "", option, value] = line.split(" ");
    const set = names.get(name);
    if (set === undefined) continue;
    if (verb === "create") sets.set(set, new Map());
    else if (verb === "add") sets.get(set)?.set(entryOf(entry), option === "skbmark" ? Number(value?.split("/")[0]) : 0);
  }
  return sets;
}

/** `ipset list -t`: how many entries each of ours has. */
export function parseSetSizes(text: string, family: IpFamily): ReadonlyMap<SetName, number> {
  const names = new Map(SET_NAMES.map((set) => [setWord(family, set), set]));
  const sizes = new Map<SetName, number>();
  let current: SetName | undefined;
  for (const line of text.split("\n")) {
    const [, word, value = ""] = /^(Name|Number of entries): (.*)$/.exec(line) ?? [];
    if (word === "Name") current = names.get(value);
    else if (word !== undefined && current !== undefined) sizes.set(current, Number(value));
  }
  return sizes;
}

/**
 * /proc/net/ip_vs: how many connections each real server of the family has, by virtual server; or only those that are open, and neither begin nor end.
 * Works on a part of it, too.
 */
export function parseActivity(text: string, family: IpFamily, which: "all" | "open" = "all"): Map<ServerKey, Map<string, number>> {
  const servers = new Map<ServerKey, Map<string, number>>();
  let current: Map<string, number> | undefined;
  for (const line of text.split("\n")) {
    const [, real, active, inactive] = /^ {2}-> (\S+)\s+\S+\s+\d+\s+(\d+)\s+(\d+)/.exec(line) ?? [];
    if (real !== undefined) {
      const word = hexPlace(real);
      if (word !== undefined && word.startsWith("[") === (family === "IPv6"))
        current?.set(word, Number(active) + (which === "all" ? Number(inactive) : 0));
      continue;
    }
    const key = hexKey(line, family);
    current = key === undefined ? undefined : (servers.get(key) ?? new Map());
    if (key !== undefined && current) servers.set(key, current);
  }
  return servers;
}

/** One table of iptables. */
export interface RuleListing {
  /** Our chains, and their rules. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** The kernel's own chains and DOCKER-USER: their rules, in order. */
  readonly hooks: ReadonlyMap<string, readonly string[]>;
}

export const DOCKER_USER = "DOCKER-USER";

/** `iptables-save`: a table that is not there has nothing. */
export function parseRules(text: string): Readonly<Record<TableName, RuleListing>> {
  const parts = new Map(text.split(/^\*/m).map((part) => [part.slice(0, part.indexOf("\n")), part]));
  const listed = (table: TableName): RuleListing => parseTable(parts.get(table) ?? "");
  return { mangle: listed("mangle"), nat: listed("nat"), filter: listed("filter") };
}

function parseTable(text: string): RuleListing {
  const chains = new Map<string, string[]>();
  const hooks = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [, declared, policy] = /^:(\S+) (\S+)/.exec(line) ?? [];
    if (declared?.startsWith(PREFIX) === true) chains.set(declared, []);
    else if (declared !== undefined && (policy !== "-" || declared === DOCKER_USER)) hooks.set(declared, []);
    const [, chain = "", rule = ""] = /^-A (\S+) ?(.*)$/.exec(line) ?? [];
    (chains.get(chain) ?? hooks.get(chain))?.push(rule);
  }
  return { chains, hooks };
}

/** A rule of ours in somebody else's chain: it leads to a chain of ours. */
export function isOurJump(rule: string): boolean {
  return /(?:^| )-[jg] (\S+)$/.exec(rule)?.[1]?.startsWith(PREFIX) ?? false;
}

function serverOf(words: readonly string[]): HeldServer {
  const after = (option: string): string | undefined => words[words.indexOf(option) + 1];
  const known = new Set([
    "-s",
    after("-s"),
    "-6",
    ...(words.includes("-p") ? ["-p", after("-p")] : []),
    ...(words.includes("-b") ? ["-b"] : []),
  ]);
  return {
    scheduler: after("-s") ?? "",
    flags: words.filter((word) => !known.has(word)).join(" "), // what somebody has added makes it another than ours
    persistence: words.includes("-p") ? Number(after("-p")) : 0,
    reals: new Map(),
    address: undefined,
  };
}

function addReal(server: HeldServer | undefined, words: readonly string[]): void {
  const real = words[words.indexOf("-r") + 1];
  if (!server || real === undefined) return;
  // Another way of forwarding is none of ours: it is written anew.
  server.reals.set(endOf(real), words.includes("-m") ? Number(words[words.indexOf("-w") + 1]) : -1);
}

/** Addresses are written in more than one way. */
function endOf(place: string): string {
  const at = place.lastIndexOf(":");
  const address = place.slice(0, at).replace(/^\[|\]$/g, "");
  return parseIp(address) ? realWord({ address, port: Number(place.slice(at + 1)) }) : place;
}

function entryOf(text: string): string {
  return text
    .split(",")
    .map((part) => {
      const [address = "", length] = part.split("/");
      const ip = parseIp(address);
      return ip ? `${formatIp(ip)}${length === undefined ? "" : `/${length}`}` : part;
    })
    .join(",");
}

const OPTIONS: Readonly<Record<string, string>> = { TCP: "-t", UDP: "-u", SCTP: "--sctp-service" };

function hexKey(line: string, family: IpFamily): ServerKey | undefined {
  const [, word = "", place = ""] = /^(\w+)\s+(\S+)/.exec(line) ?? [];
  if (word === "FWM") return Number.parseInt(place, 16);
  const option = OPTIONS[word];
  const end = option === undefined ? undefined : hexPlace(place);
  return end === undefined || end.startsWith("[") !== (family === "IPv6") ? undefined : `${option} ${end}`;
}

/** `0A60000A:0050`, `[fd00:0096:…:0010]:0035` */
function hexPlace(text: string): string | undefined {
  const [, v4, v6, port = ""] = /^(?:([0-9A-F]{8})|\[([0-9a-f:]+)\]):([0-9A-F]{4})$/i.exec(text) ?? [];
  const address = v4 === undefined ? v6 : formatIp({ family: "IPv4", value: BigInt(`0x${v4}`) });
  const number = Number.parseInt(port, 16);
  return address === undefined || !parseIp(address) || number === 0 ? undefined : realWord({ address, port: number });
}
