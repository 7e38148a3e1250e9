import type { ForwardingTable, Frontend, HostTable } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import { frontendsOf, type FrontendChange } from "../frontends.ts";
import { ChainTree } from "./chain-tree.ts";
import type { Listing } from "./listing.ts";
import { followHealth, healthTree } from "./health-ports.ts";
import { addressTree, portTree } from "./trees.ts";
import { dnsJumps, jumpsOf } from "./jumps.ts";
import { checkWords } from "./names.ts";
import { hasEndpoints, isRefusing, isVirtual, recognizing, refusing, translating, type Ground } from "./render-frontend.ts";
import { chainsOf, dnsRules, invalidRules, masqueradeRules, oursRules, unallocatedRules, undeliveredRules } from "./render-host.ts";
import { plainWeight } from "./plain-frontend.ts";
import { whereIn } from "./service-range.ts";
import { intact, TablePlan } from "./table-plan.ts";
import { wordsOf, type Words } from "./words.ts";

/** What is to be written, as text for one iptables-restore; and the tables that know what the kernel holds once it is. Reads nothing. */

export interface Rules {
  readonly host: HostTable;
  readonly words: Words;
  readonly nat: TablePlan;
  readonly filter: TablePlan;
  /** Of filter; `followHealth` moves it. */
  readonly health: ChainTree;
  readonly settings: Settings;
}

interface Settings {
  liberal: boolean;
}

/** What is in the kernel before a sync. */
export interface Found extends Record<"nat" | "filter", Listing> {
  /** net.netfilter.nf_conntrack_tcp_be_liberal: the kernel calls no packet INVALID for its sequence number. */
  readonly liberal?: boolean;
}

export function rulesOf({ host, services }: ForwardingTable, { family }: { readonly family: IpFamily }): Rules {
  const words = wordsOf(family);
  const ground = { words, host };
  const frontends = frontendsOf(services.values(), family);
  const health = healthTree(words);
  const settings = { liberal: false };
  const rules: Rules = {
    host,
    words,
    health,
    settings,
    nat: natPlan(ground),
    filter: filterPlan(ground, { settings, health }),
  };
  for (const frontend of frontends) checkWords(frontend);
  rules.filter.put(frontends);
  rules.nat.putLater(frontends); // it is the larger one, and filter is written first
  followHealth(
    health,
    [...services.values()].filter(({ healthCheck }) => healthCheck).map((next) => ({ next })),
  );
  return rules;
}

/**
 * Everything, over whatever of ours is there. Each table changes at once; filter first, so that what nat translates no more is refused already, and
 * what is outside a source range has nowhere to go at any moment. In pieces, and `rules` is what the kernel holds when the last one was read.
 */
export function* planSync(rules: Rules, found: Found, canary: string): Generator<string> {
  rules.settings.liberal = found.liberal ?? false;
  yield* rules.filter.whole(found.filter, canary);
  yield* rules.nat.whole(found.nat, canary);
}

/** Only what the changes touch; "" when nothing in the kernel changes. Moves `rules` to the state after it. */
export function applyChanges(rules: Rules, changes: readonly FrontendChange[], canary: string): string {
  const { nat, filter } = rules;
  for (const { next } of changes) if (next) checkWords(next);
  // A frontend is refused before it is translated no more, and translated before it is refused no more: no packet falls between.
  filter.putNext(changes);
  const before = filter.changes(canary);
  nat.removePrevious(changes);
  nat.putNext(changes);
  const translation = nat.changes(canary);
  filter.removePrevious(changes);
  return before + translation + filter.changes(`${canary}b`);
}

function natPlan(ground: Ground): TablePlan {
  const { words, host } = ground;
  const chains = chainsOf(words);
  const guard = (chain: string): string => intact(words, "nat", chain);
  const rulesOfPlace = (frontends: readonly Frontend[]) => translating(ground, frontends);
  const ours = (frontends: readonly Frontend[]) => recognizing(words, frontends, `-j ${chains.postrouting}`);
  const services = addressTree(words, {
    root: chains.services,
    tag: "",
    at: "range",
    concerns: hasEndpoints,
    rulesOf: rulesOfPlace,
    weightOf: plainWeight,
    // The whole range is ours: no node port and no rule of others is for it, also where the host itself has such an address (DNS).
    last: ["-j ACCEPT", guard(chains.services)],
    presence: "always",
  });
  const external = addressTree(words, {
    root: chains.external,
    tag: "EXT-",
    at: "outside",
    concerns: (frontend) => isVirtual(frontend) || hasEndpoints(frontend),
    rulesOf: rulesOfPlace,
    weightOf: plainWeight,
    last: [guard(chains.external)],
  });
  const nodePorts = portTree(words, {
    root: chains.nodePorts,
    tag: "NODE-",
    concerns: hasEndpoints,
    rulesOf: rulesOfPlace,
    weightOf: plainWeight,
    first: [`-d ${words.loopback} -j RETURN`],
    last: [guard(chains.nodePorts)],
  });
  const ourAddresses = addressTree(words, { ...OURS, root: chains.ourAddresses, at: "outside", rulesOf: ours });
  const ourPorts = portTree(words, { ...OURS, root: chains.ourPorts, rulesOf: ours });
  const presentOurs = () => ({ external: ourAddresses.isThere, nodePorts: ourPorts.isThere });
  return new TablePlan({
    table: "nat",
    words,
    trees: [services, external, nodePorts, ourAddresses, ourPorts],
    whereOf: whereIn(host),
    fixedChains: () =>
      new Map<string, readonly string[]>([
        [chains.postrouting, [...masqueradeRules(words, host), guard(chains.postrouting)]],
        [chains.ours, [...oursRules(words, host, { present: presentOurs(), verdict: `-g ${chains.postrouting}` }), guard(chains.ours)]],
      ]),
    jumps: () => jumpsOf(words, host, { table: "nat", present: { external: external.isThere, nodePorts: nodePorts.isThere } }),
  });
}

function filterPlan(ground: Ground, { settings, health }: Pick<Rules, "settings" | "health">): TablePlan {
  const { words, host } = ground;
  const chains = chainsOf(words);
  const guard = (chain: string): string => intact(words, "filter", chain);
  const rulesOfPlace = (frontends: readonly Frontend[]) => refusing(ground, frontends);
  const rejects = addressTree(words, {
    root: chains.rejects,
    tag: "",
    at: "range",
    concerns: isRefusing,
    rulesOf: rulesOfPlace,
    last: [...unallocatedRules(words), guard(chains.rejects)],
    presence: "always",
  });
  const external = addressTree(words, {
    root: chains.external,
    tag: "EXT-",
    at: "outside",
    concerns: (frontend) => isVirtual(frontend) || isRefusing(frontend),
    rulesOf: rulesOfPlace,
    last: [guard(chains.external)],
  });
  const nodePorts = portTree(words, {
    root: chains.nodePorts,
    tag: "NODE-",
    concerns: isRefusing,
    rulesOf: rulesOfPlace,
    first: [`-d ${words.loopback} -j RETURN`],
    last: [guard(chains.nodePorts)],
  });
  const { trees: ourTrees, rules: ours } = acceptingOurs(ground);
  const present = () => ({ external: external.isThere, nodePorts: nodePorts.isThere, health: health.isThere });
  return new TablePlan({
    table: "filter",
    words,
    trees: [rejects, external, nodePorts, health, ...ourTrees],
    whereOf: whereIn(host),
    fixedChains: () => {
      const { external: some, nodePorts: ports } = present();
      const invalid = settings.liberal ? [] : invalidRules(words, host);
      return new Map<string, readonly string[]>([
        [
          chains.ours,
          // No INVALID packet matches what stands before that.
          [...ours(), ...(invalid.length > 0 ? [`-p tcp -m conntrack --ctstate INVALID -j ${chains.invalid}`] : []), guard(chains.ours)],
        ],
        ...(invalid.length > 0 ? [[chains.invalid, invalid] as const] : []),
        ...dnsChain(words, host),
        ...(some || ports ? [[chains.undelivered, [...undeliveredRules(words, host, present()), guard(chains.undelivered)]] as const] : []),
      ]);
    },
    jumps: () => jumpsOf(words, host, { table: "filter", present: present() }),
  });
}

/** The chain to which `dnsJumps` lead. */
export function dnsChain(words: Words, host: HostTable): readonly (readonly [string, readonly string[]])[] {
  return dnsJumps(words, host).length === 0 ? [] : [[chainsOf(words).dns, dnsRules(words, host)]];
}

/** All places there, by where connections were going. */
const OURS = { tag: "OUR-", concerns: () => true, of: "connection" } as const;

/** filter: what finds out whether a translated connection is ours, and accepts it. */
export function acceptingOurs({ words, host }: Ground): { readonly trees: readonly ChainTree[]; readonly rules: () => string[] } {
  const chains = chainsOf(words);
  const accept = (frontends: readonly Frontend[]) => recognizing(words, frontends, "-j ACCEPT");
  const addresses = addressTree(words, { ...OURS, root: chains.ourAddresses, at: "outside", rulesOf: accept });
  const ports = portTree(words, { ...OURS, root: chains.ourPorts, rulesOf: accept });
  const present = () => ({ external: addresses.isThere, nodePorts: ports.isThere });
  return { trees: [addresses, ports], rules: () => oursRules(words, host, { present: present(), verdict: "-j ACCEPT" }) };
}
