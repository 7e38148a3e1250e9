import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import type { Backend, Frontend, HostTable, OutsideChoice } from "#agent/compile/table.ts";
import type { PlaceRules } from "./chain-tree.ts";
import {
  affinityList,
  cidrWord,
  cidrWords,
  commentWord,
  hostWord,
  ipWord,
  ownChain,
  portWord,
  protocolWord,
  secondsWord,
} from "./names.ts";
import { isPlain } from "./plain-frontend.ts";
import { isInRange } from "./service-range.ts";
import type { Words } from "./words.ts";

/** The rules of what is at one place. In nat: who gets a connection. In filter: what becomes of one that nat did not translate. Pure. */

export interface Ground {
  readonly words: Words;
  readonly host: HostTable;
}

/** nat: to the endpoints, each with its share of the new connections; pings to the host itself; the rest of a virtual address to nobody. */
export function translating(ground: Ground, frontends: readonly Frontend[]): PlaceRules {
  const { words } = ground;
  const served = frontends.filter(hasEndpoints);
  const own = served.flatMap((frontend) => (isPlain(frontend) ? [] : choosing(ground, frontend)));
  const leafOf = (frontend: Frontend): readonly string[] => {
    const match = `${matchOf(words, frontend)} ${commentOf(frontend)}`;
    if (!isPlain(frontend)) return [`${match} -j ${ownChain(words, frontend, "entry")}`];
    return picks(words, frontend, frontend.backends).map((pick) => `${match}${pick}`);
  };
  return {
    weight: served.reduce((sum, frontend) => sum + (isPlain(frontend) ? frontend.backends.length : 1), 0),
    leaf: () => served.flatMap(leafOf),
    last: () => lastInNat(ground, frontends),
    own: own.length === 0 ? NO_CHAINS : new Map(own),
  };
}

const NO_CHAINS: PlaceRules["own"] = new Map();

/** filter: source ranges and policies that have nobody here; each says what it gets. */
export function refusing(ground: Ground, frontends: readonly Frontend[]): PlaceRules {
  const { words } = ground;
  const own = new Map<string, readonly string[]>();
  const leaf = frontends.flatMap((frontend) => {
    const match = `${matchOf(words, frontend)} ${commentOf(frontend)}`;
    const verdicts = verdictsFor(ground, frontend);
    if (frontend.sourceRanges === undefined && verdicts.length <= 1) return verdicts.map((verdict) => `${match}${verdict}`);
    if (frontend.sourceRanges !== undefined && verdicts.length === 0) return [`${match} -j DROP`];
    const line = inOwnChain(frontend);
    const entry = ownChain(words, frontend, "entry");
    if (frontend.sourceRanges === undefined) own.set(entry, verdicts.map(line));
    else {
      const allowed = ownChain(words, frontend, "allowed");
      own.set(entry, [...sourcesOf(ground, frontend).map((source) => line(` -s ${source} -g ${allowed}`)), line(" -j DROP")]);
      own.set(allowed, verdicts.map(line));
    }
    return [`${match} -j ${entry}`];
  });
  return { weight: leaf.length, leaf: () => leaf, last: () => lastInFilter(ground, frontends), own };
}

/** Conntrack remembers where a connection was going: the words are for the first packet and for all that come after it. */
export function recognizing(words: Words, frontends: readonly Frontend[], target: string): PlaceRules {
  const isWhole = frontends.some(isVirtual);
  const leaf = frontends.flatMap((frontend) => {
    const { address, protocol, port } = frontend;
    const to = address === "" ? "" : ` --ctorigdst ${ipWord(address)}`;
    if (isWhole) return frontend === frontends[0] ? [`-m conntrack${to} ${target}`] : [];
    return [`-p ${protocolWord(protocol)} -m conntrack${to} --ctorigdstport ${portWord(port)} ${target}`];
  });
  return { weight: leaf.length, leaf: () => leaf, last: () => [], own: new Map() };
}

/** Is the whole address the service's, and not only this port of it? */
export function isVirtual({ scope }: Frontend): boolean {
  return scope === "cluster" || scope === "loadBalancer";
}

export function hasEndpoints({ backends, outside }: Frontend): boolean {
  return backends.length > 0 || (outside?.backends.length ?? 0) > 0;
}

/** Does filter say of it more than of an undeclared port of a virtual address? */
export function isRefusing(frontend: Frontend): boolean {
  if (frontend.sourceRanges === undefined && frontend.outside === undefined && frontend.backends.length > 0) return false; // most
  const wanted = isVirtual(frontend) ? ["drop"] : ["drop", "reject"];
  return (
    frontend.sourceRanges !== undefined || emptyVerdicts(frontend).some((verdict) => verdict !== undefined && wanted.includes(verdict))
  );
}

/** The chains of a frontend whose clients are not all treated alike, or that has many endpoints. Only DNAT rules behind all matches exist. */
function choosing(ground: Ground, frontend: Frontend): [string, string[]][] {
  const { words } = ground;
  const line = inOwnChain(frontend);
  const chainOf = (which: Parameters<typeof ownChain>[2]): string => ownChain(words, frontend, which);
  const ranges = frontend.sourceRanges === undefined ? undefined : sourcesOf(ground, frontend);
  const chains: [string, string[]][] = [];
  if (ranges) chains.push([chainOf("entry"), ranges.map((source) => line(` -s ${source} -g ${chainOf("allowed")}`))]);
  const next = chainOf(ranges ? "allowed" : "entry");
  const { outside, backends } = frontend;
  if (!outside) return [...chains, [next, chosen(words, frontend, backends).map(line)]];
  const inside = backends.length > 0 ? `-g ${chainOf("inside")}` : "-j RETURN";
  const onward = outside.backends.length > 0 ? [line(` -g ${chainOf("outside")}`)] : [];
  chains.push([next, [...insiders(ground).map((source) => line(` ${source} ${inside}`)), ...onward]]);
  if (backends.length > 0) chains.push([chainOf("inside"), chosen(words, frontend, backends).map(line)]);
  if (outside.backends.length > 0) chains.push([chainOf("outside"), chosen(words, frontend, outside.backends).map(line)]);
  return chains;
}

/** Clients that were there before come back to where they were; others are drawn. */
function chosen(words: Words, frontend: Frontend, backends: readonly Backend[]): string[] {
  return [...returning(words, frontend, backends), ...picks(words, frontend, backends)];
}

/** What says that a packet was sent by a container of this host, or by the host itself. */
function insiders({ words, host }: Ground): string[] {
  return [...cidrWords(words, host.localCidrs).map((cidr) => `-s ${cidr}`), "-m addrtype --src-type LOCAL"];
}

/** A host that may connect may also do so with the service's address as its source: that is what its packets have when it holds the address. */
function sourcesOf({ words, host }: Ground, { sourceRanges, address }: Frontend): readonly string[] {
  const ranges = cidrWords(words, sourceRanges ?? []);
  const isHostIn = (range: string): boolean => {
    const cidr = parseCidr(range);
    return host.nodeIps.some((text) => {
      const ip = parseIp(text);
      return cidr !== undefined && ip !== undefined && contains(cidr, ip);
    });
  };
  return ranges.some(isHostIn) ? [...new Set([...ranges, cidrWord(hostWord(words, address))])] : ranges;
}

function lastInNat({ words, host }: Ground, frontends: readonly Frontend[]): string[] {
  const virtual = frontends.filter(isVirtual);
  const [some] = virtual;
  if (!some) return [];
  const to = `-d ${hostWord(words, some.address)}`;
  const echo = virtual.some(hasEndpoints) ? [`${to} ${words.echoRequest} -j REDIRECT`] : [];
  // The address is nobody else's: no node port and no rule of others is for it. Of a service range the root of the tree says so.
  return isInRange(host, some.address) ? echo : [...echo, `${to} -j ACCEPT`];
}

function lastInFilter({ words, host }: Ground, frontends: readonly Frontend[]): string[] {
  const virtual = frontends.filter(isVirtual);
  const [some] = virtual;
  if (!some || isInRange(host, some.address)) return [];
  // Where the host holds the address, REDIRECT may find that it is the right one already, and conntrack knows of no translation.
  const echo = virtual.some(hasEndpoints) ? [`${words.echoRequest} -j RETURN`] : [];
  return [...echo, ...refusals(words)].map((rest) => `-d ${hostWord(words, some.address)} ${rest}`);
}

/** TCP gets a reset, because the kernel sends ICMP errors only now and then. */
export function refusals(words: Words): string[] {
  return ["-p tcp -j REJECT --reject-with tcp-reset", `-j REJECT --reject-with ${words.unreachable}`];
}

type Verdict = "reject" | "drop";

/** For who is inside and who is outside; undefined = there are endpoints, and such a packet does not come. */
function emptyVerdicts({ backends, whenEmpty, outside }: Frontend): [Verdict | undefined, Verdict | undefined] {
  const of = (choice: OutsideChoice): Verdict | undefined => (choice.backends.length === 0 ? choice.whenEmpty : undefined);
  const inside = of({ backends, whenEmpty });
  return [inside, outside ? of(outside) : inside];
}

/** The ends of rules, to be tried in order. */
function verdictsFor(ground: Ground, frontend: Frontend): string[] {
  const [inside, outside] = emptyVerdicts(frontend);
  const wordOf = (verdict: Verdict): string =>
    verdict === "drop" ? "-j DROP" : `-j REJECT --reject-with ${rejectWord(ground.words, frontend)}`;
  if (inside !== undefined && outside !== undefined && inside !== outside)
    return [...insiders(ground).map((source) => ` ${source} ${wordOf(inside)}`), ` ${wordOf(outside)}`];
  const either = inside ?? outside;
  return either === undefined ? [] : [` ${wordOf(either)}`];
}

function rejectWord(words: Words, { protocol }: Frontend): string {
  return protocol === "TCP" ? "tcp-reset" : words.unreachable;
}

/** Clients that xt_recent has seen come back to where they were, for as long again. */
function returning(words: Words, frontend: Frontend, backends: readonly Backend[]): string[] {
  const seconds = frontend.affinitySeconds;
  if (seconds === undefined) return [];
  return backends.map(
    (backend) => ` -m recent --update --seconds ${secondsWord(seconds)} --reap ${listOf(words, frontend, backend)} ${dnat(backend)}`,
  );
}

/** One rule a backend, each taking its part of what the ones before it left over; the last takes the rest. */
function picks(words: Words, frontend: Frontend, backends: readonly Backend[]): string[] {
  let left = backends.reduce((sum, { weight }) => sum + weight, 0);
  return backends.map((backend, i) => {
    const isLast = i === backends.length - 1;
    const chance = isLast ? "" : ` -m statistic --mode random --probability ${chanceWord(backend.weight / left)}`;
    left -= backend.weight;
    const remember = frontend.affinitySeconds === undefined ? "" : ` -m recent --set ${listOf(words, frontend, backend)}`;
    return `${chance}${remember} ${dnat(backend)}`;
  });
}

/** The kernel holds a chance in 31 bits, and iptables-save prints what it holds. */
function chanceWord(chance: number): string {
  return (Math.round(chance * 2 ** 31) / 2 ** 31).toFixed(11);
}

function listOf(words: Words, frontend: Frontend, backend: Backend): string {
  return `--name ${affinityList(words, frontend, backend)} --mask ${words.mask} --rsource`;
}

function dnat({ address, port }: Backend): string {
  const ip = ipWord(address);
  return `-j DNAT --to-destination ${ip.includes(":") ? `[${ip}]` : ip}:${portWord(port)}`;
}

function matchOf(words: Words, { address, protocol, port }: Frontend): string {
  const word = protocolWord(protocol);
  return `${address === "" ? "" : `-d ${hostWord(words, address)} `}-p ${word} -m ${word} --dport ${portWord(port)}`;
}

/** DNAT to a port and a reset want to know the protocol also in a chain where only one comes. */
function inOwnChain(frontend: Frontend): (rest: string) => string {
  // iptables prints -s before everything else.
  return (rest) => {
    const [, source = "", after = ""] = /^( -s \S+)?(.*)$/.exec(rest) ?? [];
    return `${source.trimStart()}${source === "" ? "" : " "}-p ${protocolWord(frontend.protocol)} ${commentOf(frontend)}${after}`;
  };
}

function commentOf({ id }: Frontend): string {
  return `-m comment --comment "${commentWord(id)}"`;
}
