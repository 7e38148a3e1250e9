import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import type { Ruleset } from "./iptables-model.ts";
import type { Outcome, Packet, Surroundings } from "./packet.ts";

/** Walks the first packet of a connection through a rule set, and gives every way that it may go with its share. */

interface State {
  readonly address: string;
  readonly port: number;
  readonly translated: boolean;
  readonly masqueraded: boolean;
  readonly share: number;
  readonly remembered: string | undefined;
}
type Step = { readonly end: "return" | "accept" | "drop" | "reject"; readonly state: State };

export function trace(ruleset: Ruleset, packet: Packet, around: Surroundings): readonly Outcome[] {
  const start: State = {
    address: packet.address,
    port: packet.port,
    translated: false,
    masqueraded: false,
    share: 1,
    remembered: undefined,
  };
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
  const isLocal = ({ address }: State): boolean => around.hostIps.includes(address);
  const decided = through("nat", packet.origin === "host" ? "OUTPUT" : "PREROUTING", [start]);
  const [toHost, onward] = packet.origin === "host" ? [[], decided] : [decided.filter(isLocal), decided.filter((state) => !isLocal(state))];
  const filtered = [...through("filter", "INPUT", toHost), ...through("filter", packet.origin === "host" ? "OUTPUT" : "FORWARD", onward)];
  const leaving = filtered.flatMap((state) =>
    packet.origin === "forwarded" && isLocal(state) ? [state] : through("nat", "POSTROUTING", [state]),
  );
  const left = leaving.map(({ address, port, masqueraded, share, remembered }) => ({
    to: `${address}:${port}`,
    masqueraded,
    share,
    remembered,
  }));
  return [...ended, ...left].filter(({ share }) => share > 1e-9);
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
      if (!chains?.has(rule.target)) return [verdictOf(rule, after)];
      return chainSteps(walk, table, rule.target, after).flatMap((step) => (step.end === "return" ? from(index + 1, step.state) : [step]));
    });
  };
  return from(0, state);
}

function verdictOf({ target, options }: Rule, state: State): Step {
  if (target === "RETURN") return { end: "return", state };
  if (target === "DROP") return { end: "drop", state };
  if (target === "REJECT") return { end: "reject", state };
  if (target === "ACCEPT") return { end: "accept", state };
  if (target === "MASQUERADE") return { end: "accept", state: { ...state, masqueraded: true } };
  const to = /^(.+):(\d+)$/.exec(options.find(({ name }) => name === "--to-destination")?.value ?? "");
  if (target !== "DNAT" || !to) throw new Error(`the tracer does not know the target ${String(target)}`);
  return { end: "accept", state: { ...state, address: to[1] ?? "", port: Number(to[2]), translated: true } };
}

interface Option {
  readonly name: string;
  readonly value: string;
  readonly negated: boolean;
}

interface Rule {
  readonly options: readonly Option[];
  readonly target: string | undefined;
}

const WITHOUT_VALUE = new Set(["--rcheck", "--update", "--set", "--reap", "--rsource", "--random-fully"]);

function parseRule(text: string): Rule {
  const words = [...text.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, word]) => quoted ?? word ?? "");
  const options: Option[] = [];
  for (let i = 0; i < words.length; i++) {
    const negated = words[i] === "!";
    if (negated) i++;
    const name = words[i] ?? "";
    if (!name.startsWith("-")) throw new Error(`the tracer does not understand ${name} in: ${text}`);
    options.push({ name, value: WITHOUT_VALUE.has(name) ? "" : (words[++i] ?? ""), negated });
  }
  return { options, target: options.find(({ name }) => name === "-j")?.value };
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
      return option.value === packet.protocol;
    case "--dport":
      return option.value === String(state.port);
    case "--ctstate":
      return option.value === "DNAT" && state.translated;
    case "--ctorigdst":
      return isIn(option.value, packet.address);
    case "--src-type":
      return option.value === "LOCAL" && around.hostIps.includes(packet.source);
    case "-o":
      return (option.value === "lo") === around.hostIps.includes(state.address);
    case "--rcheck":
    case "--update": {
      const list = rule.options.find(({ name }) => name === "--name")?.value ?? "";
      return around.remembered?.get(list)?.has(packet.source) ?? false;
    }
    case "-m":
    case "-j":
    case "--comment":
    case "--name":
    case "--mask":
    case "--mode":
    case "--seconds":
    case "--reap":
    case "--rsource":
    case "--to-destination":
    case "--reject-with":
    case "--random-fully":
      return !option.negated;
    default:
      throw new Error(`the tracer does not know ${option.name}`);
  }
}

function isIn(prefix: string, address: string): boolean {
  const cidr = parseCidr(prefix);
  const ip = parseIp(address);
  if (!cidr || !ip) throw new Error(`not a prefix and an address: ${prefix}, ${address}`);
  return contains(cidr, ip);
}
