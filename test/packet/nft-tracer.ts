import type { ForwardingTable } from "#agent/compile/table.ts";
import { heldOf } from "#agent/dataplane/nftables/held.ts";
import { planSync } from "#agent/dataplane/nftables/plan.ts";
import type { IpFamily } from "#proto/ip.ts";
import { applyNft, emptyNft, type NftTable } from "./nft-model.ts";
import { inRange, isHere, isIn, lookUp, valuesOf, type State, type Walk } from "./nft-expression.ts";
import type { Outcome, Packet, Surroundings } from "./packet.ts";

/** Walks the first packet of a connection through our table, and gives every way that it may go with its share. */

type Step = { readonly end: "continue" | "return" | "accept" | "drop" | "reject"; readonly state: State };

export function walkNftables(table: ForwardingTable, family: IpFamily, packet: Packet, around: Surroundings): readonly Outcome[] {
  const byFamily = rendered.get(table) ?? new Map<IpFamily, NftTable>();
  rendered.set(table, byFamily);
  const made = byFamily.get(family) ?? renderedTable(table, family);
  byFamily.set(family, made);
  return traceNft(made, family === "IPv4" ? "ip" : "ip6", packet, around);
}

/** Many packets walk through one table. */
const rendered = new WeakMap<ForwardingTable, Map<IpFamily, NftTable>>();

function renderedTable(table: ForwardingTable, family: IpFamily): NftTable {
  const planned = heldOf(table, family, { liberal: false });
  const text = planSync(planned, { isCurrent: false, chains: [] }, "0x1 . 0x1");
  const made = applyNft(emptyNft(), text).tables.get(family === "IPv4" ? "ip fairlead" : "ip6 fairlead");
  if (!made) throw new Error("the text makes no table");
  return made;
}

export function traceNft(table: NftTable, family: "ip" | "ip6", packet: Packet, around: Surroundings): readonly Outcome[] {
  const walk: Walk = { table, packet, around, family };
  const start: State = {
    address: packet.address,
    port: packet.port,
    translated: false,
    masqueraded: false,
    echoed: false,
    share: 1,
    remembered: undefined,
    priority: 0,
  };
  const ended: Outcome[] = [];
  const through = (chain: string, states: readonly State[]): State[] =>
    states.flatMap((state) =>
      chainSteps(walk, chain, state).flatMap(({ end, state: after }) => {
        if (end !== "drop" && end !== "reject") return [after];
        ended.push({ to: end.toUpperCase(), masqueraded: false, share: after.share, remembered: after.remembered });
        return [];
      }),
    );
  const isLocal = (state: State): boolean => isHere(walk, state.address);
  let here: State[];
  let left: State[];
  if (packet.origin === "host") {
    const leaving = through("nat_postrouting", through("filter_output", through("nat_output", [start])));
    here = leaving.filter(isLocal);
    left = leaving.filter((state) => !isLocal(state));
  } else {
    const decided = through("nat_prerouting", [start]);
    here = decided.filter(isLocal);
    left = through("nat_postrouting", through("filter_forward", decided.filter((state) => !isLocal(state)))); // prettier-ignore
  }
  return merged([...ended, ...[...here, ...left].map(outcomeOf)]);
}

function outcomeOf({ address, port, echoed, masqueraded, share, remembered }: State): Outcome {
  return { to: echoed ? "ECHO" : `${address.includes(":") ? `[${address}]` : address}:${port}`, masqueraded, share, remembered };
}

/** Several slots of one endpoint are one way. */
function merged(outcomes: readonly Outcome[]): readonly Outcome[] {
  const byWay = Map.groupBy(outcomes, ({ to, masqueraded, remembered }) => JSON.stringify([to, masqueraded, remembered]));
  return [...byWay.values()].flatMap((same) => {
    const share = same.reduce((sum, outcome) => sum + outcome.share, 0);
    return same[0] && share > 1e-9 ? [{ ...same[0], share }] : [];
  });
}

function chainSteps(walk: Walk, chain: string, start: State): Step[] {
  const rules = walk.table.chains.get(chain)?.rules;
  if (!rules) throw new Error(`no chain ${chain}`);
  const from = (index: number, state: State): Step[] => {
    const rule = rules[index];
    if (rule === undefined) return [{ end: "return", state }];
    return ruleSteps(walk, rule, state).flatMap((step) => (step.end === "continue" ? from(index + 1, step.state) : [step]));
  };
  return from(0, start);
}

/** A rule is a row of statements; the first that does not match ends it. */
function ruleSteps(walk: Walk, rule: string, state: State): Step[] {
  let states: readonly State[] = [state];
  const steps: Step[] = [];
  let rest = rule;
  while (rest !== "") {
    const statement = STATEMENTS.find(([pattern]) => pattern.test(rest)) ?? unknown(rest);
    const match = statement[0].exec(rest) ?? unknown(rest);
    rest = rest.slice(match[0].length).trimStart();
    states = states.flatMap((before) => {
      const after = statement[1](walk, match, before);
      steps.push(...after.filter((step): step is Step => "end" in step));
      return after.filter((one): one is State => !("end" in one));
    });
  }
  return [...steps, ...states.map((after): Step => ({ end: "continue", state: after }))];
}

/** States go on in the rule; steps have left it. */
type Statement = (walk: Walk, match: RegExpExecArray, state: State) => readonly (State | Step)[];

const FIELD = String.raw`(?:ct (?:original|reply) (?:ip6? [sd]addr|proto-(?:src|dst))|ip6? [sd]addr|th [sd]port|meta l4proto|meta priority|numgen random mod \d+(?: offset \d+)?|jhash .+? mod \d+ seed \S+)`;
const KEY = String.raw`(${FIELD}(?: \. ${FIELD})*)`;
const when = (test: (walk: Walk, match: RegExpExecArray, state: State) => boolean): Statement => {
  return (walk, match, state) => [test(walk, match, state) ? state : { end: "continue", state }];
};

const STATEMENTS: readonly (readonly [RegExp, Statement])[] = [
  [/^(accept|drop|return)(?= |$)/, (_walk, [, verdict], state) => [{ end: verdict as "accept", state }]],
  [/^reject( with tcp reset)?$/, (_walk, _match, state) => [{ end: "reject", state }]],
  [/^(goto|jump) (\w+)/, (walk, match, state) => follow(walk, match[0], state)],
  [/^masquerade/, (_walk, _match, state) => [{ end: "accept", state: { ...state, masqueraded: true } }]],
  [
    /^redirect/,
    ({ family }, _match, state) => [
      { end: "accept", state: { ...state, echoed: true, translated: true, address: family === "ip6" ? "::1" : "127.0.0.1" } },
    ],
  ],
  [new RegExp(`^dnat ip6? to ${KEY} map @(\\w+)`), translate],
  [
    new RegExp(`^${KEY} vmap @(\\w+)`),
    (walk, match, state) => dispatch(walk, state, { key: match[1], verdict: (key) => lookUp(walk, match[2] ?? "", key) }),
  ],
  [/^numgen random mod (\d+) vmap \{ ([^}]*) \}/, drawRange],
  [
    new RegExp(`^${KEY} vmap \\{ ([^}]*) \\}`),
    (walk, match, state) => dispatch(walk, state, { key: match[1], verdict: (key) => anonymous(match[2])[key] }),
  ],
  [/^ct state (vmap \{ [^}]*\}|established,related,untracked)/, (_walk, [, what], state) => [what === "established,related,untracked" ? { end: "continue", state } : state]], // prettier-ignore
  [/^ct state new/, (_walk, _match, state) => [state]],
  [/^ct status dnat/, when((_walk, _match, { translated }) => translated)],
  [/^fib ([sd])addr type (!= )?local/, when((walk, [, end, not], { address }) => isHere(walk, end === "s" ? walk.packet.source : address) === (not === undefined))], // prettier-ignore
  [/^oifname != "lo"/, when((walk, _match, state) => !isHere(walk, state.address))],
  [/^icmp(v6)? type echo-request/, when(({ packet }) => packet.protocol === "icmp")],
  [/^meta l4proto (tcp|udp|sctp)(?= |$)/, when(({ packet }, [, protocol]) => packet.protocol === protocol)],
  [new RegExp(`^meta priority set ${KEY} map @(\\w+)`), recall],
  [/^meta priority set 0/, (_walk, _match, state) => [{ ...state, priority: 0 }]],
  [/^meta priority != 0/, when((_walk, _match, { priority }) => priority !== 0)],
  [/^meta priority & 0xf0000000 == 0xf0000000/, when((_walk, _match, { priority }) => priority >= 0xf000_0000)],
  [new RegExp(`^update @(\\w+) \\{ ${KEY} timeout \\d+s : meta priority \\}`), remember],
  [/^delete @(\w+) \{ [^}]* \}/, (_walk, _match, state) => [state]],
  [new RegExp(`^${KEY} (!= )?@(\\w+)`), when((walk, [, key, not, set], state) => isIn(walk, set ?? "", only(walk, key, state)) === (not === undefined))], // prettier-ignore
  [/^(ip6? [sd]addr) \{ ([^}]*) \}/, when((walk, [, field, ranges], state) => (ranges ?? "").split(", ").some((range) => inRange(range, only(walk, field, state))))], // prettier-ignore
  [
    /^((?:ct original )?ip6? [sd]addr) ([0-9a-f.:]+(?:\/\d+)?)/,
    when((walk, [, field, range], state) => inRange(range ?? "", only(walk, field, state))),
  ],
];

function follow(walk: Walk, verdict: string, state: State): readonly (State | Step)[] {
  const [word = "", chain = ""] = verdict.split(" ");
  if (word !== "goto" && word !== "jump") return [{ end: verdict as "accept", state }];
  const steps = chainSteps(walk, chain, state);
  // After a jump the next rule comes; a goto that comes to its end goes back to who jumped here.
  return steps.map((step): Step => (step.end === "return" && word === "jump" ? { end: "continue", state: step.state } : step));
}

function dispatch(
  walk: Walk,
  state: State,
  { key, verdict }: { readonly key: string | undefined; readonly verdict: (key: string) => string | undefined },
): readonly (State | Step)[] {
  return valuesOf(walk, key ?? "", state).flatMap(({ value, share }): readonly (State | Step)[] => {
    const drawn = { ...state, share: state.share * share };
    const found = verdict(value);
    return found === undefined ? [{ end: "continue", state: drawn }] : follow(walk, found, drawn);
  });
}

/** Ranges of millions of numbers: of each, its part. */
function drawRange(walk: Walk, [, modulus, elements]: RegExpExecArray, state: State): readonly (State | Step)[] {
  return Object.entries(anonymous(elements)).flatMap(([range, verdict]) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return follow(walk, verdict, { ...state, share: state.share * ((last - first + 1) / Number(modulus)) });
  });
}

function anonymous(text = ""): Record<string, string> {
  return Object.fromEntries(text.split(", ").map((element) => element.split(" : ") as [string, string]));
}

function translate(walk: Walk, [, key, map]: RegExpExecArray, state: State): readonly (State | Step)[] {
  return valuesOf(walk, key ?? "", state).map(({ value, share }): Step => {
    const drawn = { ...state, share: state.share * share };
    const [address, port] = lookUp(walk, map ?? "", value)?.split(" . ") ?? [];
    if (address === undefined) return { end: "continue", state: drawn };
    return { end: "accept", state: { ...drawn, address, port: Number(port), translated: true } };
  });
}

function recall(walk: Walk, [, key, map]: RegExpExecArray, state: State): readonly (State | Step)[] {
  return valuesOf(walk, key ?? "", state).map(({ value, share }): State | Step => {
    const drawn = { ...state, share: state.share * share };
    const found = lookUp(walk, map ?? "", value);
    return found === undefined ? { end: "continue", state: drawn } : { ...drawn, priority: Number(found) };
  });
}

function remember(walk: Walk, [, map, key]: RegExpExecArray, state: State): readonly (State | Step)[] {
  return [{ ...state, remembered: `${map} ${only(walk, key, state)} = 0x${state.priority.toString(16)}` }];
}

function only(walk: Walk, key: string | undefined, state: State): string {
  return valuesOf(walk, key ?? "", state)[0]?.value ?? "";
}

function unknown(rest: string): never {
  throw new Error(`the tracer does not understand: ${rest}`);
}
