import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import type { Ruleset } from "./iptables-model.ts";
import { parseRule, type Option, type Rule } from "./iptables-rule.ts";
import type { Outcome, Packet, Surroundings } from "./packet.ts";

/** Walks the first packet of a connection through a rule set, and gives every way that it may go with its share. */

interface State {
  readonly address: string;
  readonly port: number;
  readonly translated: boolean;
  readonly masqueraded: boolean;
  /** A ping that the host answers itself. */
  readonly echoed: boolean;
  readonly share: number;
  readonly remembered: string | undefined;
}
type Step = { readonly end: "return" | "accept" | "drop" | "reject"; readonly state: State };

export function trace(ruleset: Ruleset, packet: Packet, around: Surroundings): readonly Outcome[] {
  const { address, port } = packet;
  const start: State = { address, port, translated: false, masqueraded: false, echoed: false, share: 1, remembered: undefined };
  const walk = { ruleset, packet, around };
  const ended: Outcome[] = [];
  const through = (table: string, chain: string, states: readonly State[]): State[] =>
    states.flatMap((state) =>
      chainSteps(walk, table, chain, state).flatMap(({ end, state: after }) => {
        if (end === "return" || end === "accept") return [after];
        ended.push({ to: end.toUpperCase(), masqueraded: false, share: after.share, remembered: after.remembered });
        return [];
      }),
    );
  const isHost = packet.origin === "host";
  const decided = through("nat", isHost ? "OUTPUT" : "PREROUTING", [start]);
  const here = (state: State): boolean => isLocal(around, state.address);
  const sent = isHost ? through("nat", "POSTROUTING", through("filter", "OUTPUT", decided)) : decided;
  const takenIn = through("filter", "INPUT", sent.filter(here));
  const onward = sent.filter((state) => !here(state));
  const left = isHost ? onward : through("nat", "POSTROUTING", through("filter", "FORWARD", onward));
  const arrived = [...takenIn, ...left].map(({ masqueraded, share, remembered, ...state }) => ({
    to: placeOf(state),
    masqueraded,
    share,
    remembered,
  }));
  return [...ended, ...arrived].filter(({ share }) => share > 1e-9);
}

function placeOf({ address, port, echoed }: Pick<State, "address" | "port" | "echoed">): string {
  if (echoed) return "ECHO";
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

interface Walk {
  readonly ruleset: Ruleset;
  readonly packet: Packet;
  readonly around: Surroundings;
}

function chainSteps(walk: Walk, table: string, chain: string, state: State): Step[] {
  const chains = walk.ruleset.tables.get(table);
  const rules = chains?.get(chain)?.map(parseRule);
  if (!rules) throw new Error(`no chain ${chain} in ${table}`);
  const from = (index: number, at: State): Step[] => {
    const rule = rules[index];
    if (!rule) return [{ end: "return", state: at }];
    return branchesOf(walk, rule, at).flatMap(({ matches, state: after }) => {
      if (!matches || rule.target === undefined) return from(index + 1, after);
      if (!chains?.has(rule.target)) return [verdictOf(walk, rule, after)];
      const steps = chainSteps(walk, table, rule.target, after);
      // What is gone to (-g) does not come back here: it returns to where this chain was called from.
      return rule.isGoto ? steps : steps.flatMap((step) => (step.end === "return" ? from(index + 1, step.state) : [step]));
    });
  };
  return from(0, state);
}

function verdictOf({ packet, around }: Walk, { target, options }: Rule, state: State): Step {
  if (target === "RETURN") return { end: "return", state };
  if (target === "DROP") return { end: "drop", state };
  if (target === "REJECT") return { end: "reject", state };
  if (target === "ACCEPT") return { end: "accept", state };
  if (target === "MASQUERADE") return { end: "accept", state: { ...state, masqueraded: true } };
  if (target === "REDIRECT") {
    const loopback = packet.address.includes(":") ? "::1" : "127.0.0.1";
    const own = around.hostIps.find((ip) => ip.includes(":") === packet.address.includes(":")) ?? loopback;
    const address = packet.origin === "host" ? loopback : own;
    return { end: "accept", state: { ...state, address, translated: true, echoed: true } };
  }
  const to = /^\[?([^\]]+?)\]?:(\d+)$/.exec(options.find(({ name }) => name === "--to-destination")?.value ?? "");
  if (target !== "DNAT" || !to) throw new Error(`the tracer does not know the target ${String(target)}`);
  return { end: "accept", state: { ...state, address: to[1] ?? "", port: Number(to[2]), translated: true } };
}

type Branch = { readonly matches: boolean; readonly state: State };

/** Matches in the order in which they stand; chance splits the packet, and a list is only written when all before it matched. */
function branchesOf(walk: Walk, rule: Rule, state: State): Branch[] {
  const missed: Branch[] = [];
  let hit = state;
  for (const option of rule.options) {
    if (option.name === "--probability") {
      const chance = Number(option.value);
      missed.push({ matches: false, state: { ...hit, share: hit.share * (1 - chance) } });
      hit = { ...hit, share: hit.share * chance };
    } else if (option.name === "--set") {
      hit = { ...hit, remembered: rule.options.find(({ name }) => name === "--name")?.value };
    } else if (matches(walk, { rule, option, state: hit }) === option.negated) return [...missed, { matches: false, state: hit }];
  }
  return [...missed, { matches: true, state: hit }];
}

interface Question {
  readonly rule: Rule;
  readonly option: Option;
  readonly state: State;
}

function matches({ packet, around }: Walk, { rule, option, state }: Question): boolean {
  switch (option.name) {
    case "-s":
      return isIn(option.value, packet.source);
    case "-d":
      return isIn(option.value, state.address);
    case "-p":
      return (option.value === "ipv6-icmp" ? "icmp" : option.value) === packet.protocol;
    case "--icmp-type":
      return option.value === "8" && packet.protocol === "icmp";
    case "--icmpv6-type":
      return option.value === "128" && packet.protocol === "icmp";
    case "--dport":
      return isAmong(option.value, state.port);
    case "--ctstate":
      return option.value.split(",").some((word) => word === "NEW" || (word === "DNAT" && state.translated));
    case "--ctorigdst":
      return isIn(option.value, packet.address);
    case "--ctorigdstport":
      return isAmong(option.value, packet.port);
    case "--src-type":
      return option.value === "LOCAL" && isLocal(around, packet.source);
    case "--dst-type":
      return option.value === "LOCAL" && isLocal(around, state.address);
    case "-i":
      return (option.value === "lo") === (packet.origin === "host"); // asked in INPUT only
    case "-o":
      return (option.value === "lo") === isLocal(around, state.address);
    case "--rcheck":
    case "--update": {
      const list = rule.options.find(({ name }) => name === "--name")?.value ?? "";
      return around.remembered?.get(list)?.has(packet.source) ?? false;
    }
    default:
      if (SAYS_NOTHING.has(option.name)) return !option.negated;
      throw new Error(`the tracer does not know ${option.name}`);
  }
}

const SAYS_NOTHING = new Set(
  ["-m", "-j", "-g", "--comment", "--name", "--mask", "--mode", "--seconds", "--reap", "--rsource"].concat([
    "--to-destination",
    "--reject-with",
  ]),
);

function isLocal({ hostIps }: Surroundings, address: string): boolean {
  return hostIps.includes(address) || address === "::1" || address.startsWith("127.");
}

function isAmong(ports: string, port: number): boolean {
  const [first, last = first] = ports.split(":").map(Number);
  return first !== undefined && last !== undefined && port >= first && port <= last;
}

function isIn(prefix: string, address: string): boolean {
  const ip = parseIp(address);
  const cidr = parseCidr(prefix.includes("/") ? prefix : `${prefix}/${prefix.includes(":") ? 128 : 32}`);
  if (!cidr || !ip) throw new Error(`not a prefix and an address: ${prefix}, ${address}`);
  return contains(cidr, ip);
}
