import type { HostTable } from "#agent/compile/table.ts";
import { cidrWords } from "./names.ts";
import { refusals } from "./render-frontend.ts";
import type { TableName } from "./render.ts";
import type { Words } from "./words.ts";

/** Chains that hang on the host and not on services, and our rules in the kernel's own chains. Pure. */

/** What there is besides the service ranges; each costs packets a rule only while it is there. */
export interface Present {
  /** Addresses outside of the service ranges, to which clients connect. */
  readonly external: boolean;
  readonly nodePorts: boolean;
  /** Ports at which the agent tells load balancers whether this host has endpoints. */
  readonly health?: boolean;
}

/** A rule of ours in one of the kernel's own chains, or in DOCKER-USER. */
export interface Jump {
  readonly table: TableName;
  readonly hook: "PREROUTING" | "OUTPUT" | "POSTROUTING" | "INPUT" | "FORWARD" | typeof DOCKER_USER;
  readonly rule: string;
  /** The list of xt_recent that is there as long as the rule is. */
  readonly canary?: string | undefined;
}

/** Docker puts its own rules before all others in FORWARD each time it makes a network, and this chain before those: it is for the host's owner. */
export const DOCKER_USER = "DOCKER-USER";

export interface Chains {
  readonly services: string;
  readonly rejects: string;
  readonly external: string;
  readonly nodePorts: string;
  readonly ours: string;
  readonly ourAddresses: string;
  readonly ourPorts: string;
  readonly postrouting: string;
  readonly undelivered: string;
  readonly invalid: string;
  readonly health: string;
  readonly dns: string;
  readonly canary: string;
}

export function chainsOf({ prefix }: Words): Chains {
  return {
    services: `${prefix}SERVICES`,
    rejects: `${prefix}REJECTS`,
    external: `${prefix}EXTERNAL`,
    nodePorts: `${prefix}NODE-PORTS`,
    ours: `${prefix}OURS`,
    ourAddresses: `${prefix}OUR-ADDRESSES`,
    ourPorts: `${prefix}OUR-PORTS`,
    postrouting: `${prefix}POSTROUTING`,
    undelivered: `${prefix}UNDELIVERED`,
    invalid: `${prefix}INVALID`,
    health: `${prefix}HEALTH`,
    dns: `${prefix}DNS`,
    canary: `${prefix}CANARY`,
  };
}

/** filter INPUT, of what is for where we answer names: containers may ask. Others on a LAN, whom the firewall keeps out, it still does. */
export function dnsRules(words: Words, { localCidrs }: Pick<HostTable, "localCidrs">): readonly string[] {
  return cidrWords(words, localCidrs).flatMap((cidr) =>
    ["udp", "tcp"].map((over) => `-s ${cidr} -p ${over} -m ${over} --dport 53 -j ACCEPT`),
  );
}

/** Of a connection that somebody translated: was it us? `verdict` is what ours get. */
export function oursRules(
  words: Words,
  host: HostTable,
  { present, verdict }: { readonly present: Present; readonly verdict: string },
): string[] {
  const { ourAddresses, ourPorts } = chainsOf(words);
  const at = cidrWords(words, host.nodePortCidrs);
  return [
    ...cidrWords(words, host.serviceCidrs).map((cidr) => `-m conntrack --ctorigdst ${origWord(words, cidr)} ${verdict}`),
    ...(present.external ? [`-j ${ourAddresses}`] : []),
    ...(!present.nodePorts
      ? []
      : at.length === 0
        ? [`-j ${ourPorts}`]
        : at.map((cidr) => `-m conntrack --ctorigdst ${origWord(words, cidr)} -j ${ourPorts}`)),
  ];
}

/** Connections of containers that conntrack has lost track of: untranslated, they would be answered with resets that kill long ones. */
export function invalidRules(words: Words, host: HostTable): string[] {
  const local = cidrWords(words, host.localCidrs);
  return [...local.map((cidr) => `-s ${cidr} -j DROP`), ...local.map((cidr) => `-d ${cidr} -j DROP`)];
}

/** Nobody has this address of a service range, or not this port: no packet for it goes to the gateway. Only the agent's DNS has one on the host. */
export function unallocatedRules(words: Words): string[] {
  return ["-m addrtype --dst-type LOCAL -j RETURN", ...refusals(words)];
}

/** filter: new connections that were not translated and are for a place of ours outside the service ranges. */
export function undeliveredRules(words: Words, host: HostTable, present: Present): string[] {
  const { external, nodePorts } = chainsOf(words);
  return [
    ...cidrWords(words, host.serviceCidrs).map((cidr) => `-d ${cidr} -j RETURN`),
    ...(present.external ? [`-j ${external}`] : []),
    ...(present.nodePorts ? nodePortMatches(words, host).map((match) => `${match} -j ${nodePorts}`) : []),
  ];
}

/** The host's addresses but loopback, or those that the configuration names. */
export function nodePortMatches(words: Words, host: HostTable): string[] {
  const at = cidrWords(words, host.nodePortCidrs);
  const where = at.length === 0 ? [`! -d ${words.loopback}`] : at.map((cidr) => `-d ${cidr}`);
  return where.map((match) => `${match} -m addrtype --dst-type LOCAL`);
}

/**
 * Only what went through a frontend of ours comes here. An answer that would not come back through this host needs the host's address on the
 * question; everything else keeps its client's.
 */
export function masqueradeRules(words: Words, host: HostTable): readonly string[] {
  const masquerade = "-j MASQUERADE";
  const local = cidrWords(words, host.localCidrs);
  const all = host.masqueradeAll ? cidrWords(words, host.serviceCidrs) : [];
  return [
    // Virtual IPs alone: at other addresses of a service policy Local promises its endpoints the client's address.
    ...all.map((cidr) => `-m conntrack --ctorigdst ${origWord(words, cidr)} ${masquerade}`),
    // An endpoint that calls itself, and neighbours on a bridge: they would answer each other directly.
    ...local.flatMap((from) => local.map((to) => `-s ${from} -d ${to} ${masquerade}`)),
    // Container to elsewhere: as the host treats its containers otherwise (Docker masquerades them, routed networks do not).
    ...local.map((from) => `-s ${from} -j RETURN`),
    // The host itself: routing chose the source before the endpoint was known, and it may belong to another interface.
    `-m addrtype --src-type LOCAL ${masquerade}`,
    // From off the host to what is behind it: the answer passes here anyway.
    ...local.map((to) => `-d ${to} -j RETURN`),
    // To other hosts, and to endpoints of this one on the LAN (macvlan, a virtual machine), which would answer the client directly.
    masquerade,
  ];
}

/** Conntrack's prefix words: a single address has no length there. */
function origWord({ width }: Words, cidr: string): string {
  return cidr.endsWith(`/${width}`) ? cidr.slice(0, cidr.lastIndexOf("/")) : cidr;
}
