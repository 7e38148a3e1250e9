import type { Jump, TableName } from "./render.ts";
import { PREFIX } from "./names.ts";

/** What iptables-save says of one table, reduced to what is ours. Pure. */

export interface Listing {
  /** Our chains and how many rules each has. */
  readonly chains: ReadonlyMap<string, number>;
  /** The kernel's own chains: their rules as printed, in order, without `-A CHAIN `. */
  readonly hooks: ReadonlyMap<string, readonly string[]>;
  /** Rules of others, in any chain. */
  readonly foreignRules: number;
}

export const HOOKS: Record<TableName, readonly Jump["hook"][]> = {
  nat: ["PREROUTING", "OUTPUT", "POSTROUTING"],
  filter: ["FORWARD", "OUTPUT"],
};

export const isOurChain = (chain: string): boolean => chain.startsWith(PREFIX);

/** A rule of ours in somebody else's chain: it leads to a chain of ours. */
export const isOurJump = (rule: string): boolean => /(^| )-[jg] FL-\S+$/.test(rule);

export function parseListing(text: string): Listing {
  const chains = new Map<string, number>();
  const hooks = new Map<string, string[]>();
  let foreignRules = 0;
  for (const line of text.split("\n")) {
    if (line.startsWith(":")) {
      const chain = line.slice(1, line.indexOf(" "));
      if (isOurChain(chain)) chains.set(chain, 0);
      else if (!line.startsWith(`:${chain} - `)) hooks.set(chain, []);
      continue;
    }
    if (!line.startsWith("-A ")) continue;
    const end = line.indexOf(" ", 3);
    const chain = end < 0 ? line.slice(3) : line.slice(3, end);
    const rule = end < 0 ? "" : line.slice(end + 1);
    const count = chains.get(chain);
    if (count !== undefined) chains.set(chain, count + 1);
    else {
      hooks.get(chain)?.push(rule);
      if (!isOurJump(rule)) foreignRules++;
    }
  }
  return { chains, hooks, foreignRules };
}

/** Takes our jumps out wherever they stand in the kernel's own chains, and puts the wanted ones first: within one transaction. */
export function hookLines(table: TableName, listing: Listing, wanted: readonly Jump[]): readonly string[] {
  const lines: string[] = [];
  for (const [hook, rules] of listing.hooks) for (const rule of rules) if (isOurJump(rule)) lines.push(`-D ${hook} ${rule}`);
  for (const hook of HOOKS[table])
    for (const [i, { rule }] of wanted.filter((jump) => jump.table === table && jump.hook === hook).entries())
      lines.push(`-I ${hook} ${i + 1} ${rule}`);
  return lines;
}

/** What is wrong with the hooks, in words for an operator. */
export function hookDrift(table: TableName, listing: Listing, wanted: readonly Jump[]): readonly string[] {
  const missing: string[] = [];
  for (const hook of HOOKS[table]) {
    const jumps = wanted.filter((jump) => jump.table === table && jump.hook === hook);
    const rules = listing.hooks.get(hook) ?? [];
    const ours = rules.filter(isOurJump);
    for (const jump of jumps)
      if (!ours.some((rule) => targetOf(rule) === targetOf(jump.rule))) missing.push(`${table} ${hook}: jump to ${targetOf(jump.rule)}`);
    if (ours.length > jumps.length) missing.push(`${table} ${hook}: a jump of ours stands there twice`);
    const head = rules.slice(0, jumps.length);
    if (ours.length === jumps.length && !head.every(isOurJump)) missing.push(`${table} ${hook}: our jumps are not first any more`);
  }
  return missing;
}

/** Chains that are gone, were emptied or changed, or should not be there. At most a dozen are named. */
export function chainDrift(table: TableName, listing: Listing, wanted: ReadonlyMap<string, number>): readonly string[] {
  const missing: string[] = [];
  for (const [chain, rules] of wanted) {
    const found = listing.chains.get(chain);
    if (found === undefined) missing.push(`${table} chain ${chain}`);
    else if (found !== rules) missing.push(`${table} chain ${chain}: ${found} of ${rules} rules`);
  }
  for (const chain of listing.chains.keys()) if (!wanted.has(chain)) missing.push(`${table} chain ${chain} should not be there`);
  return missing.length > 12 ? [...missing.slice(0, 12), `and ${missing.length - 12} more in ${table}`] : missing;
}

function targetOf(rule: string): string {
  return rule.slice(rule.lastIndexOf(" ") + 1);
}
