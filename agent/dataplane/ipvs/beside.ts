import { existsSync } from "node:fs";
import { join } from "node:path";
import type { IpFamily } from "#proto/ip.ts";
import { describeError } from "#proto/error.ts";
import type { KernelTools } from "../exec.ts";
import type { IptablesKind } from "../iptables/apply.ts";
import { canaries } from "../iptables/canaries.ts";
import { mayDrop } from "../iptables/passage.ts";
import { wordsOf } from "../iptables/words.ts";
import type { DataplaneLog } from "../log.ts";
import { openSchedule, type Schedule } from "../schedule.ts";
import type { Edge } from "./edge.ts";
import { digitOf, PREFIX } from "./names.ts";
import { TABLES, type Rules, type TableName } from "./render.ts";
import { namesOfOurs, renderTable } from "./rules-text.ts";

/**
 * Both kinds of iptables see every packet, and neither shows the other's rules: what ours let through, a firewall in the other kind drops, and Docker's there
 * translates. So the other kind gets our filter rules, and those of nat that leave services to us, for as long as it has rules of others or drops by itself.
 * The marks are given in one kind and hold in both. It is not on the way of a first program: it begins with the first look after that (docs/adr/0155).
 */
export interface Beside {
  /** What it shall hold; costs nothing, the next `verify` writes it. */
  hold(rules: Rules): void;
  /** Brings the rules in and takes them out; what somebody took away is put back by the next look after it was told. */
  verify(signal: AbortSignal): Promise<readonly string[]>;
  /** Forgets what it held: a clean-up looks at both kinds itself. */
  drop(): void;
}

export interface BesideDeps {
  readonly tools: KernelTools;
  readonly edge: Edge;
  readonly family: IpFamily;
  /** The one that the driver itself uses. */
  readonly kind: IptablesKind;
  readonly log: DataplaneLog;
  readonly procNet: string;
  /** When to look whether it is needed. */
  readonly schedule?: Schedule;
}

export function openBeside({ tools, edge, family, kind: own, log, procNet, schedule = openSchedule(5_000) }: BesideDeps): Beside {
  const kind: IptablesKind = own === "nft" ? "legacy" : "nft";
  const target = { kind, words: wordsOf(family) };
  const nextCanary = canaries();
  let wanted: Rules | undefined;
  /** Lists of xt_recent that are there as long as what was written is; undefined = it is not written. */
  let written: ReadonlySet<string> | undefined;
  /** An agent before this one may have left some. */
  let mayHaveOurs = true;
  let told = "";

  const write = async (rules: Rules | undefined, signal: AbortSignal): Promise<void> => {
    written = undefined; // until it is known to have been applied
    mayHaveOurs = true;
    const listing = await edge.listRules(kind, signal);
    const canary = nextCanary();
    const nameOf = (table: TableName): string => `${listPrefix(family)}${table}-${canary}`;
    const tables = TABLES.filter((table) => (rules?.chains[table].size ?? 0) > 0 || namesOfOurs(table, listing[table]).length > 0);
    const of = (table: TableName): Rules | undefined => (rules && rules.chains[table].size > 0 ? rules : undefined);
    const texts = tables.map((table) => renderTable(table, { wanted: of(table), listing: listing[table] }, nameOf(table)));
    if (texts.length > 0) await edge.rules(kind, texts.join(""));
    if (!rules) mayHaveOurs = false;
    else written = new Set([...listsIn(rules), ...tables.filter(of).map(nameOf)]);
  };

  const isNeeded = async (signal: AbortSignal): Promise<boolean> =>
    mayDrop(tools, target, signal).catch((cause: unknown) => {
      if (signal.aborted) throw cause;
      const said = describeError(cause); // a kind that does not work here has no rules
      if (said !== told) log.info({ kind, error: said }, "the other kind of iptables cannot be looked at");
      told = said;
      return false;
    });

  const follow = async (rules: Rules, signal: AbortSignal): Promise<void> => {
    if (!(await isNeeded(signal))) {
      if (written) log.info({ kind, family }, "the other kind of iptables has no rules of others any more: ours go there, too");
      if (written || (mayHaveOurs && (await hasOurs(signal)))) await write(undefined, signal);
      mayHaveOurs = false;
      return;
    }
    if (written) return;
    await write(rules, signal);
    log.info({ kind, family }, "the other kind of iptables has rules of others: connections of services are let through there");
  };

  const hasOurs = async (signal: AbortSignal): Promise<boolean> => {
    if (!(await tools.has(`${target.words.program}-${kind}-restore`))) return false;
    const listing = await edge.listRules(kind, signal).catch((cause: unknown) => {
      if (signal.aborted) throw cause;
      return undefined;
    });
    return listing !== undefined && TABLES.some((table) => namesOfOurs(table, listing[table]).length > 0);
  };

  return {
    hold(rules) {
      wanted = besideRules(rules);
      written = undefined;
      schedule.hurry();
    },
    async verify(signal) {
      const rules = wanted;
      if (!rules) return [];
      if (written && [...written].some((list) => !existsSync(join(procNet, "xt_recent", list)))) {
        written = undefined;
        schedule.hurry();
        return [`iptables-${kind}: our rules`];
      }
      await schedule.whenDue(() => follow(rules, signal));
      return [];
    },
    drop() {
      wanted = undefined;
      written = undefined;
    },
  };
}

/** Of our rules, what the other kind needs. A list of xt_recent is one of both kinds: here they have names of their own. Pure. */
export function besideRules({ family, jumps, chains }: Rules): Rules {
  const rename = (rule: string): string => rule.replaceAll(`--name ${PREFIX}${digitOf(family)}-`, `--name ${listPrefix(family)}`);
  const renamed = (rules: ReadonlyMap<string, readonly string[]>): ReadonlyMap<string, readonly string[]> =>
    new Map([...rules].map(([chain, all]) => [chain, all.map(rename)]));
  const keeping = new Map([...chains.nat].filter(([chain]) => chain.startsWith(KEEP)));
  return {
    family,
    jumps: jumps
      .filter(({ table, rule }) => table === "filter" || rule.includes(` -j ${KEEP}`))
      .map((jump) => ({ ...jump, rule: rename(jump.rule) })),
    chains: { mangle: new Map(), nat: renamed(keeping), filter: renamed(chains.filter) },
  };
}

const KEEP = `${PREFIX}KEEP-`;

function listPrefix(family: IpFamily): string {
  return `${PREFIX}${digitOf(family)}-BESIDE-`;
}

function listsIn({ jumps, chains }: Rules): readonly string[] {
  const rules = [...jumps.map(({ rule }) => rule), ...TABLES.flatMap((table) => [...chains[table].values()].flat())];
  return rules.flatMap((rule) => /--name (\S+)/.exec(rule)?.[1] ?? []);
}
