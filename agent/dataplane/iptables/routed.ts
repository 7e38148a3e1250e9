import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Frontend } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { Drift } from "../driver.ts";
import type { DataplaneLog } from "../log.ts";
import { openSchedule } from "../schedule.ts";
import { list, restore, type IptablesKind, type RestoreTools } from "./apply.ts";
import { barePlace } from "./bare-place.ts";
import { canaries } from "./canaries.ts";
import type { ChainTree } from "./chain-tree.ts";
import { cleanupTables } from "./cleanup.ts";
import { openInspector, type Inspector } from "./inspect.ts";
import { cidrWords, hostWord } from "./names.ts";
import { kindsInNeed } from "./passage.ts";
import { chainsOf, DOCKER_USER, type Jump } from "./render-host.ts";
import { intact, TablePlan } from "./table-plan.ts";
import { addressTree } from "./trees.ts";
import { wordsOf, type Words } from "./words.ts";

/**
 * Networks of containers that this host announces (--docker-routed): where others drop what is forwarded (Docker does), the fleet's hosts come in to them, and
 * nobody else. Whatever the data plane is, in each kind of iptables that needs it; its chains are `FLR-*`, one family a gate.
 */
export interface RoutedGate {
  /** Who may come in where: written where it is needed. Only what differs from before, where that is known. */
  hold(wanted: RoutedAccess, signal: AbortSignal): Promise<void>;
  /** Also brings the rules in when they have become necessary; what is missing is put back by the next `hold`. */
  verify(signal: AbortSignal): Promise<Drift>;
  cleanup(options: { readonly dryRun: boolean }, signal: AbortSignal): Promise<readonly string[]>;
}

export interface RoutedAccess {
  /** Networks of this host. */
  readonly cidrs: readonly string[];
  /** Addresses of the fleet's other hosts. */
  readonly hosts: ReadonlySet<string>;
}

export interface RoutedGateDeps {
  readonly tools: RestoreTools;
  readonly family: IpFamily;
  readonly log: DataplaneLog;
  readonly procNet?: string | undefined;
  readonly lookEveryMs?: number;
}

/** Docker drops in filter what nobody published, and since version 28 in raw what was sent to a container's own address. */
const TABLES = ["filter", "raw"] as const;
type RoutedTable = (typeof TABLES)[number];
const PLACES = TABLES.flatMap((table) => (["nft", "legacy"] as const).map((kind) => ({ kind, table, name: `${kind} ${table}` })));
type Place = (typeof PLACES)[number];

interface Written {
  readonly place: Place;
  readonly plan: TablePlan;
  readonly tree: ChainTree;
  readonly inspector: Inspector;
  /** As the kernel has them. */
  readonly hosts: ReadonlySet<string>;
}

export function openRoutedGate({ tools, family, log, procNet = "/proc/net", lookEveryMs = 5_000 }: RoutedGateDeps): RoutedGate {
  const words = wordsOf(family, "routed");
  const nextCanary = canaries();
  const written = new Map<string, Written>();
  const schedule = openSchedule(lookEveryMs);
  let wanted: RoutedAccess | undefined;
  let isFirst = true;

  const writeWhole = async (place: Place, { cidrs, hosts }: RoutedAccess, signal: AbortSignal): Promise<void> => {
    const { kind, table, name } = place;
    written.delete(name);
    const { plan, tree } = planOf(words, { table, cidrs });
    tree.putAll([...hosts].map(asFrontend));
    await restore(tools, { kind, words }, plan.whole(await list(tools, { kind, words }, table, signal), nextCanary()));
    written.set(name, { place, plan, tree, hosts, inspector: openInspector({ tools, kind, words, procNet }) });
  };

  const followHosts = async (one: Written, { hosts }: RoutedAccess): Promise<void> => {
    const { place, plan, tree } = one;
    for (const host of one.hosts) if (!hosts.has(host)) tree.remove(asFrontend(host));
    for (const host of hosts) if (!one.hosts.has(host)) tree.put(asFrontend(host));
    const text = plan.changes(nextCanary());
    written.delete(place.name); // until it is known to have been applied
    if (text !== "") await restore(tools, { kind: place.kind, words }, text);
    written.set(place.name, { ...one, hosts });
  };

  const remove = async ({ kind, table, name }: Place, signal: AbortSignal): Promise<void> => {
    written.delete(name);
    if (await tools.has(`${words.program}-${kind}-restore`))
      await cleanupTables(tools, { kinds: [kind], words, dryRun: false, tables: [table] }, signal);
  };

  /** Where rules of others might drop what shall come in; where there are none any more, ours go too. */
  const followNeed = async (access: RoutedAccess, signal: AbortSignal): Promise<void> => {
    const mayHaveLeft = isFirst && (await hasRoutedTraces(family, procNet));
    isFirst = false;
    for (const table of TABLES) {
      const needed = access.cidrs.length > 0 ? await kindsInNeed({ tools, log, table }, words, signal) : new Set<IptablesKind>();
      for (const place of PLACES.filter((one) => one.table === table)) {
        const isWritten = written.has(place.name);
        if (needed.has(place.kind) && !isWritten) {
          log.info(
            { place: place.name, family, networks: access.cidrs },
            "iptables has rules of others: hosts of the fleet are let in to containers there",
          );
          await writeWhole(place, access, signal);
        } else if (!needed.has(place.kind) && (isWritten || mayHaveLeft)) await remove(place, signal);
      }
    }
  };

  return {
    async hold(access, signal) {
      const isOther = wanted?.cidrs.join() !== access.cidrs.join();
      wanted = undefined; // until it is known to have been done
      for (const one of [...written.values()])
        if (!isOther) await followHosts(one, access);
        else if (access.cidrs.length > 0) await writeWhole(one.place, access, signal);
        else await remove(one.place, signal);
      if (isOther) await followNeed(access, signal);
      wanted = access;
    },

    async verify(signal) {
      const access = wanted;
      if (!access || access.cidrs.length === 0) return { intact: true };
      await schedule.whenDue(() => followNeed(access, signal));
      const missing: string[] = [];
      for (const { plan, inspector } of written.values()) missing.push(...(await inspector.inspect([plan], signal)));
      if (missing.length === 0) return { intact: true };
      wanted = undefined;
      return { intact: false, missing };
    },

    async cleanup({ dryRun }, signal) {
      if (!dryRun) {
        written.clear();
        wanted = undefined;
      }
      const kinds: IptablesKind[] = [];
      for (const kind of ["nft", "legacy"] as const) if (await tools.has(`${words.program}-${kind}-restore`)) kinds.push(kind);
      return cleanupTables(tools, { kinds, words, dryRun, tables: TABLES }, signal);
    },
  };
}

/** Without a process: is something of it in the kernel? */
export async function hasRoutedTraces(family: IpFamily, procNet = "/proc/net"): Promise<boolean> {
  const lists = await readdir(join(procNet, "xt_recent")).catch(() => []); // the module is not loaded: no rule names any
  return lists.some((name) => name.startsWith(`${wordsOf(family, "routed").list}-`));
}

/** What a packet passes: the jumps, a rule for each network, and the tree of hosts. */
export function planOf(
  words: Words,
  { table, cidrs }: { readonly table: RoutedTable; readonly cidrs: readonly string[] },
): { readonly plan: TablePlan; readonly tree: ChainTree } {
  const chains = { ours: chainsOf(words).ours, answers: `${words.prefix}ANSWERS` };
  const tree = addressTree(words, {
    root: `${words.prefix}HOSTS`,
    tag: "H-",
    of: "source",
    at: "outside",
    concerns: () => false, // `hold` alone puts and removes
    presence: "always",
    rulesOf: (all) => {
      const leaf = all.map(({ address }) => `-s ${hostWord(words, address)} -j ACCEPT`);
      return { weight: leaf.length, leaf: () => leaf, last: () => [], own: new Map() };
    },
  });
  const networks = cidrWords(words, cidrs);
  const fixed = new Map<string, readonly string[]>([
    [chains.ours, [...networks.map((cidr) => `-d ${cidr} -j ${tree.root}`), intact(words, table, chains.ours)]],
    // Of connections that a host began there and nobody translated: those of strangers were never let in.
    ...(table === "filter"
      ? [[chains.answers, networks.map((cidr) => `-s ${cidr} -m conntrack --ctorigdst ${cidr} -j ACCEPT`)] as const]
      : []),
  ]);
  const jumps = jumpsIn(table, chains);
  return {
    tree,
    plan: new TablePlan({ table, words, trees: [tree], whereOf: () => "outside", fixedChains: () => fixed, jumps: () => jumps }),
  };
}

const OURS = "-m comment --comment fairlead";

function jumpsIn(table: RoutedTable, { ours, answers }: { readonly ours: string; readonly answers: string }): readonly Jump[] {
  // Before conntrack: no connection is known yet, and all that is for none of the networks goes on.
  if (table === "raw") return [{ table, hook: "PREROUTING", rule: `${OURS} -j ${ours}` }];
  return (["FORWARD", DOCKER_USER] as const).flatMap((hook) => [
    { table, hook, rule: `-m conntrack --ctdir ORIGINAL ${OURS} -j ${ours}` },
    { table, hook, rule: `-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY ${OURS} -j ${answers}` },
  ]);
}

/** As a tree of addresses knows it. */
function asFrontend(address: string): Frontend {
  return barePlace({ id: "host", family: address.includes(":") ? "IPv6" : "IPv4", scope: "external", address, port: 1 });
}
