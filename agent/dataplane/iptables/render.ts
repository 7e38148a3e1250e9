import type { Backend, Frontend, HostTable } from "#agent/compile/table.ts";
import {
  affinityList,
  CANARY,
  cidrWord,
  commentWord,
  familyOfCidr,
  FORWARD,
  ipWord,
  ownChain,
  portWord,
  POSTROUTING,
  protocolWord,
  REJECTS,
  secondsWord,
  SERVICES,
} from "./names.ts";

/** Text of rules, as iptables-restore reads it and iptables-save prints it. Pure: the same table gives the same bytes. */

/** A service with more endpoints has its chain apart, so that its neighbours' packets pass one rule of it and a change writes only it. */
export const MAX_BACKENDS_IN_LEAF = 8;

export type TableName = "nat" | "filter";

/** Rules of one frontend: in the leaf of its address, and in a chain of its own where it needs one. */
export interface FrontendRules {
  readonly leaf: readonly string[];
  readonly own?: { readonly chain: string; readonly rules: readonly string[] };
}

/** What one restore does to our chains of one table. Only these chains are touched. */
export interface ChainEdits {
  /** Chains to be replaced whole, made where they are missing. */
  readonly write: ReadonlyMap<string, readonly string[]>;
  readonly remove: readonly string[];
}

/** A rule of ours in one of the kernel's own chains. */
export interface Jump {
  readonly table: TableName;
  readonly hook: "PREROUTING" | "OUTPUT" | "POSTROUTING" | "FORWARD";
  readonly rule: string;
  /** The list of xt_recent that is there as long as the rule is. */
  readonly canary?: string;
}

export function renderSection(table: TableName, edits: ChainEdits, hookLines: readonly string[] = []): string {
  const lines = [`*${table}`];
  for (const chain of edits.write.keys()) lines.push(`:${chain} - [0:0]`);
  for (const chain of edits.remove) lines.push(`:${chain} - [0:0]`); // empties it, so that it can go
  for (const [chain, rules] of edits.write) for (const rule of rules) lines.push(`-A ${chain} ${rule}`);
  lines.push(...hookLines);
  for (const chain of edits.remove) lines.push(`-X ${chain}`);
  return `${lines.join("\n")}\nCOMMIT\n`;
}

/** nat: to the endpoints, each with its share of the new connections. */
export function dnatRules(frontend: Frontend): FrontendRules {
  const match = matchOf(frontend);
  const comment = commentOf(frontend);
  if (frontend.affinitySeconds === undefined && frontend.backends.length <= MAX_BACKENDS_IN_LEAF)
    return { leaf: picks(frontend, () => "").map((pick) => `${match} ${comment}${pick}`) };
  const chain = ownChain(frontend);
  const protocol = `-p ${protocolWord(frontend.protocol)}`; // DNAT to a port wants to know
  const rules = [...returning(frontend), ...picks(frontend, (backend) => remember(frontend, backend))];
  return {
    leaf: [`${match} ${comment} -j ${chain}`],
    own: { chain, rules: rules.map((rule) => `${protocol} ${comment}${rule}`) },
  };
}

/** filter: nobody is there. TCP gets a reset, because the kernel sends ICMP errors only now and then. */
export function rejectRules(frontend: Frontend): FrontendRules {
  const how = frontend.protocol === "TCP" ? "tcp-reset" : "icmp-port-unreachable";
  const verdict = frontend.whenEmpty === "drop" ? "DROP" : `REJECT --reject-with ${how}`;
  return { leaf: [`${matchOf(frontend)} ${commentOf(frontend)} -j ${verdict}`] };
}

/** Chains that hang on the host and not on services. */
export function hostChains(host: HostTable): Record<TableName, ReadonlyMap<string, readonly string[]>> {
  return {
    nat: new Map([[POSTROUTING, [...masqueradeRules(host), intact(POSTROUTING)]]]),
    filter: new Map([[FORWARD, ["-j ACCEPT", intact(FORWARD)]]]),
  };
}

/** Chains through which all services go: a flush of one of them is as bad as one of the table. */
export const GUARDED: Record<TableName, readonly string[]> = { nat: [SERVICES, POSTROUTING], filter: [REJECTS, FORWARD] };

/** The last rule of a guarded chain: it does nothing, is seldom or never reached, and names a list that is there as long as the rule is. */
export function intact(chain: string): string {
  return `-m recent --rcheck --name ${guardOf(chain)} --mask 255.255.255.255 --rsource`;
}

export function guardOf(chain: string): string {
  return `${chain}-intact`;
}

export function canaryChain(canary: string): readonly [string, readonly string[]] {
  return [CANARY, [`-m recent --rcheck --name ${canary} --mask 255.255.255.255 --rsource`]];
}

/** In the order in which they must stand at the head of each hook. Traffic that is not for a virtual IP pays one rule in each. */
export function jumpsOf(host: HostTable): readonly Jump[] {
  return cidrsOf(host.serviceCidrs).flatMap((cidr): Jump[] => {
    const virtual = (table: TableName, hook: Jump["hook"], target: string): Jump => {
      const canary = `FL-${table}-${hook}-${cidr.replace("/", "-")}`;
      return { table, hook, canary, rule: `-d ${cidr} ${present(canary)} ${OURS} -j ${target}` };
    };
    const through = `-m conntrack --ctstate DNAT --ctorigdst ${cidr} ${OURS}`;
    return [
      virtual("nat", "PREROUTING", SERVICES),
      virtual("nat", "OUTPUT", SERVICES),
      { table: "nat", hook: "POSTROUTING", rule: `${through} -j ${POSTROUTING}` },
      virtual("filter", "FORWARD", REJECTS),
      { table: "filter", hook: "FORWARD", rule: `${through} -j ${FORWARD}` },
      virtual("filter", "OUTPUT", REJECTS),
    ];
  });
}

const OURS = "-m comment --comment fairlead";

/** Always true: nothing is ever put into the list. While a rule names it, /proc/net/xt_recent has it, and looking there costs no process. */
function present(canary: string): string {
  return `-m recent ! --rcheck --name ${canary} --mask 255.255.255.255 --rsource`;
}

/**
 * Only what reaches this chain went through a virtual IP of ours. An answer that would not come back through this host needs the host's address
 * on the question; everything else keeps its client's.
 */
function masqueradeRules(host: HostTable): readonly string[] {
  const masquerade = "-j MASQUERADE --random-fully";
  if (host.masqueradeAll) return [masquerade];
  const local = cidrsOf(host.localCidrs);
  return [
    // An endpoint that calls itself, and neighbours on a bridge: they would answer each other directly.
    ...local.flatMap((from) => local.map((to) => `-s ${from} -d ${to} ${masquerade}`)),
    // Container to elsewhere: as the host treats its containers otherwise (Docker masquerades them, routed networks do not).
    ...local.map((from) => `-s ${from} -j RETURN`),
    // The host itself: routing chose the source before the endpoint was known, and it may belong to another interface.
    `-m addrtype --src-type LOCAL ! -o lo ${masquerade}`,
    "-m addrtype --src-type LOCAL -j RETURN",
    // From off the host to what is behind it: the answer passes here anyway.
    ...local.map((to) => `-d ${to} -j RETURN`),
    masquerade,
  ];
}

/** Clients that xt_recent has seen come back to where they were, for as long again. */
function returning(frontend: Frontend): string[] {
  const seconds = frontend.affinitySeconds;
  if (seconds === undefined) return [];
  return frontend.backends.map(
    (backend) => ` -m recent --update --seconds ${secondsWord(seconds)} --reap ${listOf(frontend, backend)} ${dnat(backend)}`,
  );
}

function remember(frontend: Frontend, backend: Backend): string {
  return frontend.affinitySeconds === undefined ? "" : ` -m recent --set ${listOf(frontend, backend)}`;
}

function listOf(frontend: Frontend, backend: Backend): string {
  return `--name ${affinityList(frontend, backend)} --mask 255.255.255.255 --rsource`;
}

/** One rule a backend, each taking its part of what the ones before it left over; the last takes the rest. */
function picks(frontend: Frontend, after: (backend: Backend) => string): string[] {
  let left = frontend.backends.reduce((sum, { weight }) => sum + weight, 0);
  return frontend.backends.map((backend, i) => {
    const isLast = i === frontend.backends.length - 1;
    const chance = isLast ? "" : ` -m statistic --mode random --probability ${(backend.weight / left).toFixed(11)}`;
    left -= backend.weight;
    return `${chance}${after(backend)} ${dnat(backend)}`;
  });
}

function dnat({ address, port }: Backend): string {
  return `-j DNAT --to-destination ${ipWord(address)}:${portWord(port)}`;
}

function matchOf({ address, protocol, port }: Frontend): string {
  const word = protocolWord(protocol);
  return `-d ${ipWord(address)}/32 -p ${word} -m ${word} --dport ${portWord(port)}`;
}

function commentOf({ id }: Frontend): string {
  return `-m comment --comment "${commentWord(id)}"`;
}

/** This driver programs IPv4; ip6tables will come with its own words for reject and masks. */
function cidrsOf(cidrs: readonly string[]): string[] {
  return cidrs.filter((text) => familyOfCidr(text) === "IPv4").map(cidrWord);
}
