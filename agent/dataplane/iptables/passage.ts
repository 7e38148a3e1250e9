import { describeError } from "#proto/error.ts";
import type { CompiledService, ForwardingTable, HostTable, ServiceChange } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { Drift } from "../driver.ts";
import type { KernelTools } from "../exec.ts";
import { frontendChanges, frontendsOf } from "../frontends.ts";
import type { DataplaneLog } from "../log.ts";
import type { ChainTree } from "./chain-tree.ts";
import { legacyTables, list, restore, type IptablesKind, type RestoreTools, type Target } from "./apply.ts";
import { canaries } from "./canaries.ts";
import { cleanupTables } from "./cleanup.ts";
import { followHealth, healthTree } from "./health-ports.ts";
import { openSchedule } from "../schedule.ts";
import { openInspector, type Inspector } from "./inspect.ts";
import { dnsJumps, healthJumps, oursJumps, TRANSLATED } from "./jumps.ts";
import { acceptingOurs, dnsChain } from "./plan.ts";
import { chainsOf } from "./render-host.ts";
import type { TableName } from "./render.ts";
import { isInRange, whereIn } from "./service-range.ts";
import { intact, TablePlan } from "./table-plan.ts";
import { wordsOf, type Words } from "./words.ts";

/**
 * For the data planes that do not write iptables themselves: a packet that nftables lets through is still dropped by a rule of iptables (Docker's
 * or ufw's FORWARD and INPUT). This accepts there the connections that went through our frontends, and no others. It does nothing on a host whose
 * filter table is empty and lets everything pass; and looks again with verify, because Docker may start later. Its chains are `FLP-*`. Beside our own iptables the other kind has such rules too (`FLB-*`):
 * both kinds see every packet, and a host may have a firewall in each.
 */
export interface Passage {
  /** What there is to let through; costs nothing where nothing was written yet, and the next `verify` brings in what is necessary. */
  hold(table: ForwardingTable, signal: AbortSignal): Promise<void>;
  sync(table: ForwardingTable, signal: AbortSignal): Promise<void>;
  update(changes: readonly ServiceChange[], signal: AbortSignal): Promise<void>;
  /** Also brings the rules in when they have become necessary; what is missing is put back by `sync`. */
  verify(signal: AbortSignal): Promise<Drift>;
  cleanup(options: { readonly dryRun: boolean }, signal: AbortSignal): Promise<readonly string[]>;
  close(): void;
}

export interface PassageDeps {
  readonly tools: RestoreTools;
  readonly family: IpFamily;
  readonly log: DataplaneLog;
  /** Whose connections. */
  readonly of?: "passage" | "beside";
  /** undefined = each that something of others is in. */
  readonly kind?: IptablesKind | undefined;
  /** Where the kernel shows the lists of xt_recent. */
  readonly procNet?: string | undefined;
  /** The words that say of a packet that its connection was translated, where conntrack does not know of it. */
  readonly translated?: string | undefined;
  /** How often to look whether it is needed, where that costs nothing. */
  readonly lookEveryMs?: number;
}

export function openPassage(deps: PassageDeps): Passage {
  const { tools, family, log, lookEveryMs = 5_000 } = deps;
  const words = wordsOf(family, deps.of ?? "passage");
  const nextCanary = canaries();
  const written = new Map<IptablesKind, Written>();
  const inspectors = new Map<IptablesKind, Inspector>();
  const schedule = openSchedule(lookEveryMs);
  let host: HostTable | undefined;
  /** Those with places outside the service ranges, or with a health port: the others are told by their range. */
  const services = new Map<string, CompiledService>();

  const follow = (key: string, service: CompiledService | undefined): void => {
    const isOther = service?.frontends.some(
      (frontend) => frontend.family === family && host && (frontend.address === "" || !isInRange(host, frontend.address)),
    );
    if (service && (isOther === true || service.healthCheck)) services.set(key, service);
    else services.delete(key);
  };

  const write = async (kind: IptablesKind, signal: AbortSignal): Promise<void> => {
    if (!host) return;
    written.delete(kind);
    const health = healthTree(words);
    const plan = planOf(words, host, { translated: deps.translated ?? TRANSLATED, health });
    plan.put(frontendsOf(services.values(), family));
    followHealth(
      health,
      Array.from(services.values(), (next) => ({ next })),
    );
    const listing = await list(tools, { kind, words }, "filter", signal);
    await restore(tools, { kind, words }, plan.whole(listing, nextCanary()));
    written.set(kind, { plan, health });
    if (!inspectors.has(kind)) inspectors.set(kind, openInspector({ tools, kind, words, procNet: deps.procNet ?? "/proc/net" }));
  };

  /** Rules of others that might drop what is ours; where there are none any more, ours go too. */
  const followNeed = async (which: "all" | "what is missing", signal: AbortSignal): Promise<void> => {
    const needed = await kindsInNeed(deps, words, signal);
    for (const kind of ["nft", "legacy"] as const) {
      if (needed.has(kind) && (which === "all" || !written.has(kind))) {
        if (!written.has(kind)) log.info({ kind, family }, "iptables has rules of others: connections of services are let through there");
        await write(kind, signal);
      } else if (!needed.has(kind) && written.delete(kind)) await cleanupTables(tools, { kinds: [kind], words, dryRun: false }, signal);
    }
  };

  const take = (table: ForwardingTable): void => {
    host = table.host;
    services.clear();
    for (const [key, service] of table.services) follow(key, service);
  };

  return {
    async hold(table, signal) {
      take(table);
      if (written.size > 0) await followNeed("all", signal);
      else schedule.hurry();
    },

    async sync(table, signal) {
      take(table);
      await followNeed("all", signal);
    },

    async update(changes, signal) {
      for (const { key, next } of changes) follow(key, next);
      for (const [kind, one] of [...written]) {
        const { plan, health } = one;
        followHealth(health, changes);
        const frontends = changes.flatMap((change) => frontendChanges(change, family));
        plan.removePrevious(frontends);
        plan.putNext(frontends);
        const text = plan.changes(nextCanary());
        if (text === "") continue;
        written.delete(kind); // until it is known to have been applied
        await restore(tools, { kind, words }, text);
        written.set(kind, one);
      }
      signal.throwIfAborted();
    },

    async verify(signal) {
      if (!host) return { intact: true };
      await schedule.whenDue(() => followNeed("what is missing", signal));
      const missing: string[] = [];
      for (const [kind, { plan }] of written) missing.push(...((await inspectors.get(kind)?.inspect([plan], signal)) ?? []));
      return missing.length === 0 ? { intact: true } : { intact: false, missing };
    },

    async cleanup({ dryRun }, signal) {
      if (!dryRun) {
        written.clear();
        host = undefined;
      }
      const installed: IptablesKind[] = [];
      for (const kind of ["nft", "legacy"] as const) if (await tools.has(`${words.program}-${kind}-restore`)) installed.push(kind);
      return cleanupTables(tools, { kinds: installed, words, dryRun }, signal);
    },

    close: () => {
      written.clear();
      host = undefined;
    },
  };
}

interface Written {
  readonly plan: TablePlan;
  readonly health: ChainTree;
}

function planOf(
  words: Words,
  host: HostTable,
  { translated, health }: { readonly translated: string; readonly health: ChainTree },
): TablePlan {
  const { trees, rules } = acceptingOurs({ words, host });
  const { ours } = chainsOf(words);
  return new TablePlan({
    table: "filter",
    words,
    trees: [...trees, health],
    whereOf: whereIn(host),
    fixedChains: () => new Map<string, readonly string[]>([[ours, [...rules(), intact(words, "filter", ours)]], ...dnsChain(words, host)]),
    jumps: () => [
      ...oursJumps(words, { translated, invalid: false }),
      ...dnsJumps(words, host),
      ...(health.isThere ? healthJumps(words, host) : []),
    ],
  });
}

/** A tool that is not there, or cannot work here, has no rules. */
export async function kindsInNeed(
  { tools, kind: wanted, log, table = "filter" }: Pick<PassageDeps, "tools" | "kind" | "log"> & { readonly table?: TableName },
  words: Words,
  signal: AbortSignal,
): Promise<ReadonlySet<IptablesKind>> {
  const needed = new Set<IptablesKind>();
  for (const kind of ["nft", "legacy"] as const) {
    if (wanted !== undefined && kind !== wanted) continue;
    try {
      if (await mayDrop(tools, { kind, words, table }, signal)) needed.add(kind);
    } catch (cause) {
      if (signal.aborted) throw cause;
      log.warn({ kind, error: describeError(cause) }, "could not look for rules of others in iptables");
    }
  }
  return needed;
}

/** Has this kind of iptables rules of others, or does it drop by itself? */
export async function mayDrop(
  tools: KernelTools,
  { kind, words, table = "filter" }: Target & { readonly table?: TableName },
  signal: AbortSignal,
): Promise<boolean> {
  if (kind === "legacy" && !(await legacyTables(tools, words.family)).has(table)) return false;
  if (!(await tools.has(`${words.program}-${kind}-restore`))) return false;
  const { foreignRules, dropping } = await list(tools, { kind, words }, table, signal);
  return foreignRules > 0 || dropping.has("FORWARD") || dropping.has("INPUT");
}
