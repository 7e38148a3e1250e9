import type { IpFamily } from "#proto/ip.ts";
import type { HostTable } from "#agent/compile/table.ts";
import { ipWord } from "../iptables/names.ts";
import { ofFamily } from "./legs.ts";
import { digitOf, MARK_BASE, MARK_MASK, MARKS, markWord, PREFIX, setWord, type SetName } from "./names.ts";

/**
 * The rules: a fixed number, whatever the services are; those are in the sets. Text as iptables-restore reads it and iptables-save prints it. Pure.
 *
 * A packet passes mangle (which mark?), nat (nobody else translates it), filter (refused, or let in), and then the virtual server, which sends it to
 * OUTPUT again with its new destination; answers pass FORWARD.
 */

export type TableName = "mangle" | "nat" | "filter";
export const TABLES = ["mangle", "nat", "filter"] as const;
export type Hook = "PREROUTING" | "INPUT" | "FORWARD" | "OUTPUT" | "POSTROUTING";

/** A rule of ours in one of the kernel's own chains. */
export interface Jump {
  readonly table: TableName;
  readonly hook: Hook;
  readonly rule: string;
  /** The list of xt_recent that is there as long as the rule is; none where each packet of a connection would look it up. */
  readonly canary: string | undefined;
}

export interface Rules {
  readonly family: IpFamily;
  /** In the order in which they must stand at the head of each hook. */
  readonly jumps: readonly Jump[];
  readonly chains: Record<TableName, ReadonlyMap<string, readonly string[]>>;
}

export interface RuleOptions {
  /** nf_conntrack_tcp_be_liberal: then INVALID is no reason to drop. */
  readonly isLiberal: boolean;
}

export function rulesOf(family: IpFamily, host: HostTable, options: RuleOptions): Rules {
  const local = ofFamily(host.localCidrs, { family });
  const invalid = !options.isLiberal && local.length > 0;
  return {
    family,
    jumps: jumpsOf(family, { invalid }),
    chains: {
      mangle: guarded(family, "mangle", mangleChains(family, local)),
      nat: guarded(family, "nat", natChains(family, { local, all: host.masqueradeAll ? ofFamily(host.serviceCidrs, { family }) : [] })),
      filter: guarded(family, "filter", filterChains(family, { dnsIps: host.dnsIps, local, invalid })),
    },
  };
}

export const CANARY = `${PREFIX}CANARY`;

/** Nothing jumps there; its one rule names a list of xt_recent that is new with each write of the table. */
export function canaryChain(family: IpFamily, name: string): readonly [string, readonly string[]] {
  return [CANARY, [never(family, name)]];
}

/** The last rule of each chain does nothing and names a list, so that somebody who empties it is seen. */
export function guardOf(family: IpFamily, table: TableName, chain: string): string {
  return `${PREFIX}${digitOf(family)}-${table}-${chain.slice(PREFIX.length)}`;
}

const NEW = "-m conntrack --ctstate NEW";
const OURS = "-m comment --comment fairlead";
const LOOPBACK = { IPv4: "127.0.0.0/8", IPv6: "::1/128" } as const;
const HOST_MASK = { IPv4: "255.255.255.255", IPv6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" } as const;
/** Of an address alone: conntrack prints none. */
const HOST_LENGTH = /(?<=\..*)\/32$|(?<=:.*)\/128$/;
const ECHO = { IPv4: "-p icmp -m icmp --icmp-type 8", IPv6: "-p ipv6-icmp -m icmp6 --icmpv6-type 128" } as const;
const UNREACHABLE = { IPv4: "icmp-port-unreachable", IPv6: "icmp6-port-unreachable" } as const;
const ANY_MARK = `-m mark --mark ${markWord(MARK_BASE)}/${markWord(MARK_MASK)}`;
const NO_MARK = `-m mark ! --mark ${markWord(MARK_BASE)}/${markWord(MARK_MASK)}`;
const SCHEDULED = "-m ipvs --ipvs";

function jumpsOf(family: IpFamily, { invalid }: { readonly invalid: boolean }): readonly Jump[] {
  const is = (set: SetName, of: string): string => `-m set --match-set ${setWord(family, set)} ${of}`;
  const isNot = (set: SetName, of: string): string => `-m set ! --match-set ${setWord(family, set)} ${of}`;
  const jump = (table: TableName, hook: Hook, chain: string, match: string): Jump => {
    const canary = `${PREFIX}${digitOf(family)}-${hook}-${chain}`;
    return { table, hook, canary, rule: `${match} ${always(family, canary)} ${OURS} -j ${PREFIX}${chain}` };
  };
  const often = (hook: Hook, chain: string, match: string): Jump => {
    return { table: "filter", hook, canary: undefined, rule: `${match} ${OURS} -j ${PREFIX}${chain}` };
  };
  const places = is("PLACES", "dst,dst");
  const node = `! -d ${LOOPBACK[family]} ${is("NODE", "dst,dst")} ${isNot("PLACES", "dst,dst")} ${isNot("VIPS", "dst")}`;
  // What a virtual server has sent on passes OUTPUT a second time, and is decided already.
  const fresh = "-m ipvs ! --ipvs";
  const keep = (hook: "PREROUTING" | "OUTPUT"): Jump[] => [
    jump("nat", hook, "KEEP-PLACES", places),
    jump("nat", hook, "KEEP-VIPS", is("VIPS", "dst")),
    jump("nat", hook, "KEEP-NODE", `! -d ${LOOPBACK[family]} ${is("NODE", "dst,dst")} -m addrtype --dst-type LOCAL`),
  ];
  return [
    jump("mangle", "PREROUTING", "EXTERNAL", is("EXTERNAL", "dst,dst")),
    jump("mangle", "PREROUTING", "GUARDED", is("GUARDED", "dst")),
    jump("mangle", "INPUT", "PLACES", `${NEW} ${places}`),
    jump("mangle", "INPUT", "NODE", `${node} ${NEW}`),
    // Its mark has led it to its virtual server, and must not lead it back to this host.
    jump("mangle", "OUTPUT", "UNMARK", `${ANY_MARK} ${SCHEDULED}`),
    jump("mangle", "OUTPUT", "SENT", `${is("EXTERNAL", "dst,dst")} ${fresh}`),
    jump("mangle", "OUTPUT", "SENT-GUARDED", `${is("GUARDED", "dst")} ${fresh}`),
    jump("mangle", "OUTPUT", "PLACES", `${NEW} ${places} ${fresh}`),
    jump("mangle", "OUTPUT", "NODE", `${node} ${NEW} -m addrtype --dst-type LOCAL ${fresh}`),
    jump("mangle", "POSTROUTING", "UNMARK", ANY_MARK),
    ...keep("PREROUTING"),
    ...keep("OUTPUT"),
    jump("nat", "POSTROUTING", "POSTROUTING", `${SCHEDULED} ${is("BACKENDS", "dst,dst")}`),
    jump("filter", "INPUT", "INPUT", ANY_MARK),
    often("INPUT", "VIPS", is("VIPS", "dst")),
    // After those: an address that is a service's alone has no such port.
    jump("filter", "INPUT", "HEALTH", `! -d ${LOOPBACK[family]} ${is("HEALTH", "dst,dst")} -m addrtype --dst-type LOCAL`),
    jump("filter", "FORWARD", "CLOSED", is("GUARDED", "dst")),
    ...(invalid ? [jump("filter", "FORWARD", "INVALID", "-p tcp -m conntrack --ctstate INVALID")] : []),
    often("FORWARD", "ANSWERS", `-m conntrack --ctstate ESTABLISHED --ctdir REPLY ${is("BACKENDS", "src,src")}`),
    jump("filter", "OUTPUT", "OUTPUT", ANY_MARK),
    jump("filter", "OUTPUT", "CLOSED", `${is("GUARDED", "dst")} ${NO_MARK}`),
    often("OUTPUT", "SENT-ON", `${SCHEDULED} ${is("BACKENDS", "dst,dst")}`),
  ];
}

type Chains = ReadonlyMap<string, readonly string[]>;

function mangleChains(family: IpFamily, local: readonly string[]): Chains {
  const mark = (set: SetName, of: string): string => `-j SET --map-set ${setWord(family, set)} ${of} --map-mark`;
  const inside = (chain: string): string[] => [
    `-m addrtype --src-type LOCAL -j ${chain}`,
    ...local.map((cidr) => `-s ${cidr} -j ${chain}`),
  ];
  const drop = `-m mark --mark ${markWord(MARKS.drop)} -j DROP`;
  const external = `-j MARK --set-xmark ${markWord(MARKS.external)}/0xffffffff`;
  const sent = `-j MARK --set-xmark ${markWord(MARKS.sent)}/0xffffffff`;
  // Of an address with source ranges: who may connect; and what is not about that: connections that there are, errors of the network about them, pings.
  const atGuarded = (mark: string): string[] => [
    `-m set --match-set ${setWord(family, "RANGED")} dst,dst,src ${mark}`,
    `-m conntrack --ctstate RELATED,ESTABLISHED ${mark}`,
    `${ECHO[family]} -m set --match-set ${setWord(family, "PING")} dst ${mark}`,
  ];
  return new Map([
    [`${PREFIX}EXTERNAL`, [external]],
    [`${PREFIX}GUARDED`, atGuarded(external)],
    [`${PREFIX}SENT`, [sent]],
    [`${PREFIX}SENT-GUARDED`, atGuarded(sent)],
    [`${PREFIX}PLACES`, [mark("PLACES", "dst,dst"), mark("RANGED", "dst,dst,src"), ...inside(`${PREFIX}PLACES-IN`), drop]],
    [`${PREFIX}PLACES-IN`, [mark("PLACES-IN", "dst,dst"), mark("RANGED-IN", "dst,dst,src")]],
    [`${PREFIX}NODE`, [mark("NODE", "dst,dst"), ...inside(`${PREFIX}NODE-IN`), drop]],
    [`${PREFIX}NODE-IN`, [mark("NODE-IN", "dst,dst")]],
    [`${PREFIX}UNMARK`, ["-j MARK --set-xmark 0x0/0xffffffff"]],
  ]);
}

/** A virtual IP is an address of this host now, so that rules of others for all of its addresses (Docker's published ports) would catch it. */
function natChains(family: IpFamily, { local, all }: { readonly local: readonly string[]; readonly all: readonly string[] }): Chains {
  const keep = ["PLACES", "VIPS", "NODE"].map((what) => [`${PREFIX}KEEP-${what}`, ["-j ACCEPT"]] as const);
  return new Map([...keep, [`${PREFIX}POSTROUTING`, masqueradeRules(family, local, all)]]);
}

/**
 * An answer that would not come back through this host needs the host's address on the question; everything else keeps its client's.
 */
function masqueradeRules(family: IpFamily, local: readonly string[], all: readonly string[]): readonly string[] {
  const masquerade = "-j MASQUERADE";
  return [
    // Asked to for virtual IPs alone: at other addresses of a service policy Local promises its endpoints the client's address.
    ...all.map((cidr) => `-m conntrack --ctorigdst ${cidr.replace(HOST_LENGTH, "")} ${masquerade}`),
    // An endpoint that calls itself, and neighbours on a bridge: they would answer each other directly.
    ...local.flatMap((from) => local.map((to) => `-s ${from} -d ${to} ${masquerade}`)),
    // Container to elsewhere: as the host treats its containers otherwise (Docker masquerades them, routed networks do not).
    ...local.map((from) => `-s ${from} -j RETURN`),
    // The host itself: routing chose the source before the endpoint was known, and it may belong to another interface.
    `! -o lo -m addrtype --src-type LOCAL ${masquerade}`,
    "-m addrtype --src-type LOCAL -j RETURN",
    // From off the host to what is behind it: the answer passes here anyway.
    ...local.map((to) => `-d ${to} -j RETURN`),
    // To other hosts, and to endpoints of this one on the LAN, which would answer the client directly.
    masquerade,
  ];
}

interface FilterOptions {
  /** Addresses of the host in the range of virtual IPs: what comes for them is not our business. */
  readonly dnsIps: readonly string[];
  readonly local: readonly string[];
  readonly invalid: boolean;
}

function filterChains(family: IpFamily, { dnsIps, local, invalid }: FilterOptions): Chains {
  const own = dnsIps
    .map(ipWord)
    .filter((ip) => ip.includes(":") === (family === "IPv6"))
    .map((ip) => `${ip}/${family === "IPv4" ? 32 : 128}`);
  const refuse = `-m mark --mark ${markWord(MARKS.refuse)}`;
  const refusals = [`${refuse} -p tcp -j REJECT --reject-with tcp-reset`, `${refuse} -j REJECT --reject-with ${UNREACHABLE[family]}`];
  const undeclared = ["-p tcp -j REJECT --reject-with tcp-reset", `-j REJECT --reject-with ${UNREACHABLE[family]}`];
  return new Map([
    [`${PREFIX}INPUT`, [...refusals, "-j ACCEPT"]],
    [
      `${PREFIX}VIPS`,
      [
        ...own.flatMap((ip) => [
          // Names, for what is behind this host; whom a firewall keeps out otherwise, it still does.
          ...local.flatMap((cidr) => ["udp", "tcp"].map((over) => `-s ${cidr} -d ${ip} -p ${over} -m ${over} --dport 53 -j ACCEPT`)),
          `-d ${ip} -j RETURN`,
        ]),
        // Connections of a service that has gone, and errors of the network about others. Neighbours of IPv6 find each other untracked.
        "-m conntrack --ctstate RELATED,ESTABLISHED,UNTRACKED -j ACCEPT",
        `${ECHO[family]} -m set --match-set ${setWord(family, "PING")} dst -j ACCEPT`,
        ...undeclared,
      ],
    ],
    [`${PREFIX}HEALTH`, ["-j ACCEPT"]],
    // Who may not come in got no mark, and so another way than to this host.
    [`${PREFIX}CLOSED`, [`-m set --match-set ${setWord(family, "PLACES")} dst,dst -j DROP`, ...undeclared]],
    ...(invalid
      ? [[`${PREFIX}INVALID`, [...local.map((cidr) => `-s ${cidr} -j DROP`), ...local.map((cidr) => `-d ${cidr} -j DROP`)]] as const]
      : []),
    // What others translated (DNAT) is theirs to let through.
    [`${PREFIX}ANSWERS`, ["-m conntrack --ctstate DNAT -j RETURN", "-j ACCEPT"]],
    [`${PREFIX}OUTPUT`, refusals],
    [`${PREFIX}SENT-ON`, ["-m addrtype --src-type LOCAL -j RETURN", "-j ACCEPT"]],
  ]);
}

function guarded(family: IpFamily, table: TableName, chains: Chains): Chains {
  return new Map([...chains].map(([chain, rules]) => [chain, [...rules, never(family, guardOf(family, table, chain))]]));
}

/** Always true: nothing is ever put into the list. While a rule names it, /proc/net/xt_recent has it, and looking there costs no process. */
function always(family: IpFamily, list: string): string {
  return `-m recent ! --rcheck --name ${list} --mask ${HOST_MASK[family]} --rsource`;
}

function never(family: IpFamily, list: string): string {
  return `-m recent --rcheck --name ${list} --mask ${HOST_MASK[family]} --rsource`;
}
