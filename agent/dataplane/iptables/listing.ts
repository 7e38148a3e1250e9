import { addRule, NO_RULES, type ChainSum, type TableName } from "./render.ts";
import { DOCKER_USER, type Jump } from "./render-host.ts";
import type { Words } from "./words.ts";

/** What iptables-save says of one table, reduced to what is ours. Pure. */

export interface Listing {
  /** Our chains. */
  readonly chains: ReadonlyMap<string, ChainSum>;
  /** The kernel's own chains, and DOCKER-USER: their rules as printed, in order, without `-A CHAIN `. */
  readonly hooks: ReadonlyMap<string, readonly string[]>;
  /** The kernel's own chains that drop what no rule is about. */
  readonly dropping: ReadonlySet<string>;
  /** Rules of others, in any chain. */
  readonly foreignRules: number;
}

export const HOOKS: Record<TableName, readonly Jump["hook"][]> = {
  nat: ["PREROUTING", "OUTPUT", "POSTROUTING"],
  filter: ["INPUT", "FORWARD", "OUTPUT"],
  raw: ["PREROUTING"],
};

export const isOurChain = ({ prefix }: Pick<Words, "prefix">, chain: string): boolean => chain.startsWith(prefix);

/** A rule of ours in somebody else's chain: it leads to a chain of ours. */
export const isOurJump = ({ prefix }: Pick<Words, "prefix">, rule: string): boolean =>
  /(?:^| )-[jg] (\S+)$/.exec(rule)?.[1]?.startsWith(prefix) ?? false;

/** Chains of this driver (FL-), of the passages (FLP-, FLB-), of routed networks (FLR-) and of IPVS (FLV-). */
const OF_FAIRLEAD = /^FL[BPRV]?-/;
/** Of any of our writers. */
export const isJumpOfFairlead = (rule: string): boolean => OF_FAIRLEAD.test(/(?:^| )-[jg] (\S+)$/.exec(rule)?.[1] ?? "");
const isForeign = (chain: string, rule: string): boolean => !OF_FAIRLEAD.test(chain) && !isJumpOfFairlead(rule);

export function parseListing(words: Pick<Words, "prefix">, text: string): Listing {
  const chains = new Map<string, ChainSum>();
  const hooks = new Map<string, string[]>();
  const dropping = new Set<string>();
  let foreignRules = 0;
  for (const line of linesOf(text)) {
    if (line.startsWith(":")) {
      const [chain = "", policy] = line.slice(1).split(" ", 2);
      if (isOurChain(words, chain)) chains.set(chain, NO_RULES);
      else if (policy !== "-" || chain === DOCKER_USER) hooks.set(chain, []);
      if (policy === "DROP") dropping.add(chain);
      continue;
    }
    if (!line.startsWith("-A ")) continue;
    const end = line.indexOf(" ", 3);
    const chain = end < 0 ? line.slice(3) : line.slice(3, end);
    const sum = chains.get(chain);
    if (sum !== undefined) chains.set(chain, addRule(sum, line, end < 0 ? line.length : end + 1));
    else {
      const rule = end < 0 ? "" : line.slice(end + 1);
      hooks.get(chain)?.push(rule);
      if (isForeign(chain, rule)) foreignRules++;
    }
  }
  return { chains, hooks, dropping, foreignRules };
}

/** Takes our jumps out wherever they stand in the hooks, and puts the wanted ones first: within one transaction. */
export function hookLines(words: Words, listing: Listing, wanted: readonly Jump[]): readonly string[] {
  const lines: string[] = [];
  for (const [hook, rules] of listing.hooks) for (const rule of rules) if (isOurJump(words, rule)) lines.push(`-D ${hook} ${rule}`);
  return [...lines, ...insertions(wanted)];
}

/** The same where ours are known to be `before`: only the hooks in which something changes. A jump that is not there fails the transaction. */
export function hookRewrite(before: readonly Jump[], wanted: readonly Jump[]): readonly string[] {
  const lines: string[] = [];
  for (const hook of new Set([...before, ...wanted].map((jump) => jump.hook))) {
    const had = before.filter((jump) => jump.hook === hook);
    const has = wanted.filter((jump) => jump.hook === hook);
    if (had.length === has.length && had.every(({ rule }, i) => rule === has[i]?.rule)) continue;
    lines.push(...had.map(({ rule }) => `-D ${hook} ${rule}`), ...insertions(has));
  }
  return lines;
}

/** What is wrong with the hooks, in words for an operator. */
export function hookDrift(words: Words, { table, listing, wanted }: Wanted<readonly Jump[]>): readonly string[] {
  const missing: string[] = [];
  for (const [hook, rules] of listing.hooks) {
    const jumps = wanted.filter((jump) => jump.hook === hook);
    const ours = rules.filter((rule) => isOurJump(words, rule));
    for (const jump of jumps)
      if (!ours.some((rule) => targetOf(rule) === targetOf(jump.rule))) missing.push(`${table} ${hook}: jump to ${targetOf(jump.rule)}`);
    if (ours.length < jumps.length && missing.length === 0) missing.push(`${table} ${hook}: one of our jumps`);
    if (ours.length > jumps.length) missing.push(`${table} ${hook}: a jump of ours stands there twice`);
    // Another writer of ours may stand before: what it accepts none of us drops.
    const head = rules.filter((rule) => isOurJump(words, rule) || !isJumpOfFairlead(rule)).slice(0, jumps.length);
    if (ours.length === jumps.length && !head.every((rule) => isOurJump(words, rule)))
      missing.push(`${table} ${hook}: our jumps are not first any more`);
    else if (ours.length === jumps.length && !jumps.every(({ rule }, i) => sameRule(rule, head[i] ?? "")))
      missing.push(`${table} ${hook}: a jump of ours was altered`);
  }
  return missing;
}

interface Wanted<T> {
  readonly table: TableName;
  readonly listing: Listing;
  readonly wanted: T;
}

/** Chains that are gone, were emptied or changed, or should not be there. At most a dozen are named. */
export function chainDrift({ table, listing, wanted }: Wanted<ReadonlyMap<string, ChainSum>>): readonly string[] {
  const missing: string[] = [];
  for (const [chain, { rules, sum }] of wanted) {
    const found = listing.chains.get(chain);
    if (found === undefined) missing.push(`${table} chain ${chain}`);
    else if (found.rules !== rules) missing.push(`${table} chain ${chain}: ${found.rules} of ${rules} rules`);
    else if (found.sum !== sum) missing.push(`${table} chain ${chain}: other rules than ours`);
  }
  for (const chain of listing.chains.keys()) if (!wanted.has(chain)) missing.push(`${table} chain ${chain} should not be there`);
  return missing.length > 12 ? [...missing.slice(0, 12), `and ${missing.length - 12} more in ${table}`] : missing;
}

function insertions(wanted: readonly Jump[]): string[] {
  const inserted = new Map<string, number>();
  return wanted.map(({ hook, rule }) => {
    const position = (inserted.get(hook) ?? 0) + 1;
    inserted.set(hook, position);
    return `-I ${hook} ${position} ${rule}`;
  });
}

/** iptables-save leaves out the quotes that are not needed. */
function sameRule(a: string, b: string): boolean {
  return a.replaceAll('"', "") === b.replaceAll('"', "");
}

function targetOf(rule: string): string {
  return rule.slice(rule.lastIndexOf(" ") + 1);
}

function* linesOf(text: string): Generator<string> {
  for (let start = 0; start < text.length;) {
    const end = text.indexOf("\n", start);
    yield text.slice(start, end < 0 ? text.length : end);
    start = end < 0 ? text.length : end + 1;
  }
}
