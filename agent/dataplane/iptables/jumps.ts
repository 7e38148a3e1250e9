import type { HostTable } from "#agent/compile/table.ts";
import { parseIp } from "#proto/ip.ts";
import { cidrWords, hostWord } from "./names.ts";
import { chainsOf, DOCKER_USER, dnsRules, nodePortMatches, type Jump, type Present } from "./render-host.ts";
import type { TableName } from "./render.ts";
import { present as isPresent } from "./table-plan.ts";
import type { Words } from "./words.ts";

const OURS = "-m comment --comment fairlead";

/** What is for none of ours pays one rule for each line here. In the order in which they must stand at the head of each hook. */
export function jumpsOf(
  words: Words,
  host: HostTable,
  { table, present }: { readonly table: TableName; readonly present: Present },
): Jump[] {
  return table === "nat" ? natJumps(words, host, present) : filterJumps(words, host, present);
}

/** filter: of what others translated nothing is accepted, and of what nobody translated nothing is looked at. */
export function oursJumps(words: Words, { translated, invalid }: { readonly translated: string; readonly invalid: boolean }): Jump[] {
  const { ours } = chainsOf(words);
  const to = (match: string): string => `${match} ${OURS} -j ${ours}`;
  const withInvalid = invalid ? "-m conntrack --ctstate INVALID,DNAT" : translated;
  return [
    { table: "filter", hook: "FORWARD", rule: to(withInvalid) },
    { table: "filter", hook: DOCKER_USER, rule: to(translated) },
    // Whatever comes over lo is from this host to itself: there is no firewall that drops it, and each packet of it would pay.
    { table: "filter", hook: "INPUT", rule: to(`! -i lo ${translated}`) },
  ];
}

export const TRANSLATED = "-m conntrack --ctstate DNAT";

/**
 * Into the tree of virtual IPs lead two jumps. The list of xt_recent is 1 % of a connection: the first one has none, and where somebody takes it away
 * the second one, which is a spare until then, leads there. When that goes too, its list does.
 */
function natJumps(words: Words, host: HostTable, present: Present): Jump[] {
  const { services, external, nodePorts, ours } = chainsOf(words);
  const jump = jumper(words, "nat");
  const into = (hook: "PREROUTING" | "OUTPUT"): Jump[] => [
    ...cidrWords(words, host.serviceCidrs).flatMap((cidr) => [
      { table: "nat", hook, rule: `-d ${cidr} ${OURS} -j ${services}` } as const,
      jump(hook, `-d ${cidr}`, services),
    ]),
    ...(present.external ? [jump(hook, "", external)] : []),
    ...(present.nodePorts ? nodePortMatches(words, host).map((match) => jump(hook, match, nodePorts)) : []),
  ];
  // Over lo both ends are this host: nothing is to be decided.
  return [...into("PREROUTING"), ...into("OUTPUT"), jump("POSTROUTING", `! -o lo ${TRANSLATED}`, ours)];
}

function filterJumps(words: Words, host: HostTable, present: Present): Jump[] {
  const { rejects, undelivered } = chainsOf(words);
  const jump = jumper(words, "filter");
  // Neighbours of IPv6 find each other with untracked packets, also where the host has the address of a service.
  const fresh = "-m conntrack ! --ctstate RELATED,ESTABLISHED,UNTRACKED,DNAT";
  const refusing = (hook: "FORWARD" | "OUTPUT" | "INPUT"): Jump[] => [
    ...(hook === "INPUT" ? [] : cidrWords(words, host.serviceCidrs).map((cidr) => jump(hook, `-d ${cidr}`, rejects))),
    ...(present.external || present.nodePorts ? [jump(hook, fresh, undelivered)] : []),
  ];
  return [
    ...oursJumps(words, { translated: TRANSLATED, invalid: true }),
    ...refusing("FORWARD"),
    ...refusing("OUTPUT"),
    ...refusing("INPUT"),
    ...dnsJumps(words, host),
    ...(present.health === true ? healthJumps(words, host) : []),
  ];
}

/** filter INPUT: none where nothing is behind the host. */
export function dnsJumps(words: Words, host: HostTable): Jump[] {
  const { dns } = chainsOf(words);
  if (dnsRules(words, host).length === 0) return [];
  return dnsWords(words, host).map((ip) => ({ table: "filter", hook: "INPUT", rule: `-d ${ip} ${OURS} -j ${dns}` }));
}

function dnsWords(words: Words, { dnsIps }: HostTable): readonly string[] {
  return dnsIps.filter((ip) => parseIp(ip)?.family === words.family).map((ip) => hostWord(words, ip));
}

/** filter INPUT: of what is for a process of the host, TCP to where node ports are. All of it, because a firewall may let in no answers either. */
export function healthJumps(words: Words, host: HostTable): Jump[] {
  const { health } = chainsOf(words);
  return nodePortMatches(words, host).map((match) => ({
    table: "filter",
    hook: "INPUT",
    rule: `${inPrintedOrder(match)} ${OURS} -j ${health}`,
  }));
}

/** iptables prints the protocol after the address. */
function inPrintedOrder(match: string): string {
  return match.replace(" -m addrtype", " -p tcp -m addrtype");
}

function jumper(words: Words, table: TableName): (hook: Jump["hook"], match: string, target: string) => Jump {
  return (hook, match, target) => {
    const which = [hook, ...match.matchAll(/-d (\S+)/g).map(([, cidr = ""]) => cidr.replace("/", "-")), target.slice(words.prefix.length)];
    const canary = `${words.list}-${table}-${which.join("-")}`;
    return { table, hook, canary, rule: `${match}${match === "" ? "" : " "}${isPresent(words, canary)} ${OURS} -j ${target}` };
  };
}
