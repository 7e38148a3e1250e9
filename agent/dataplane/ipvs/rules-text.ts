import { isJumpOfFairlead } from "../iptables/listing.ts";
import { DOCKER_USER, isOurJump, type RuleListing } from "./listing.ts";
import { canaryChain, guardOf, type Jump, type Rules, type TableName } from "./render.ts";

/** The rules as text for iptables-restore, and what a listing of them says. Pure. */

/** Replaces our chains whole, takes our jumps out wherever they stand, and puts the wanted ones first: one transaction. */
export function renderTable(
  table: TableName,
  { wanted, listing }: { readonly wanted: Rules | undefined; readonly listing: RuleListing },
  canary: string,
): string {
  const write = wanted ? new Map([...wanted.chains[table], canaryChain(wanted.family, canary)]) : new Map<string, readonly string[]>();
  const stale = [...listing.chains.keys()].filter((chain) => !write.has(chain));
  const lines = [`*${table}`, ...[...write.keys(), ...stale].map((chain) => `:${chain} - [0:0]`)];
  for (const [chain, rules] of write) lines.push(...rules.map((rule) => `-A ${chain} ${rule}`));
  for (const [hook, rules] of listing.hooks) lines.push(...rules.filter(isOurJump).map((rule) => `-D ${hook} ${rule}`));
  for (const [hook, jumps] of Map.groupBy(jumpsIn(wanted, table, listing), (jump) => jump.hook))
    lines.push(...jumps.map(({ rule }, i) => `-I ${hook} ${i + 1} ${rule}`));
  return [...lines, ...stale.map((chain) => `-X ${chain}`), "COMMIT", ""].join("\n");
}

/** Docker puts its own rules before all others in FORWARD whenever it makes a network; this chain, which it leaves to others, stands before those. */
function jumpsIn(wanted: Rules | undefined, table: TableName, { hooks }: RuleListing): readonly (Omit<Jump, "hook"> & { hook: string })[] {
  const jumps = (wanted?.jumps ?? []).filter((jump) => jump.table === table);
  const again = hooks.has(DOCKER_USER) ? jumps.filter(({ hook, canary }) => hook === "FORWARD" && canary === undefined) : [];
  return [...jumps, ...again.map((jump) => ({ ...jump, hook: DOCKER_USER }))];
}

/** What is wrong, in words for an operator. */
export function ruleDrift(table: TableName, wanted: Rules, listing: RuleListing): readonly string[] {
  const missing: string[] = [];
  for (const [chain, rules] of wanted.chains[table]) {
    const found = listing.chains.get(chain);
    if (!found) missing.push(`${table} chain ${chain}`);
    else if (!sameRules(found, rules)) missing.push(`${table} chain ${chain}: other rules than ours`);
  }
  for (const [hook, jumps] of Map.groupBy(jumpsIn(wanted, table, listing), (jump) => jump.hook)) {
    const rules = listing.hooks.get(hook) ?? [];
    const ours = rules.filter(isOurJump);
    if (ours.length !== jumps.length) missing.push(`${table} ${hook}: ${ours.length} of ${jumps.length} jumps of ours`);
    else if (
      !rules
        .filter((rule) => isOurJump(rule) || !isJumpOfFairlead(rule))
        .slice(0, jumps.length)
        .every(isOurJump)
    )
      missing.push(`${table} ${hook}: our jumps are not first any more`);
  }
  return missing;
}

export function namesOfOurs(table: TableName, { chains, hooks }: RuleListing): readonly string[] {
  const jumps = [...hooks].flatMap(([hook, rules]) => rules.filter(isOurJump).map(() => `${table} ${hook}: jump`));
  return [...jumps, ...[...chains.keys()].map((chain) => `${table} chain ${chain}`)];
}

/** Every list of xt_recent that is there as long as the rules are, and what its absence means. */
export function canariesOf({ family, jumps, chains }: Rules, writes: Readonly<Record<TableName, string>>): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const { table, hook, canary } of jumps) if (canary !== undefined) found.set(canary, `${table} ${hook}: our jump`);
  for (const table of ["mangle", "nat", "filter"] as const) {
    found.set(writes[table], `${table}: our chains, or their last change`);
    for (const chain of chains[table].keys()) found.set(guardOf(family, table, chain), `${table} ${chain}: its rules`);
  }
  return found;
}

/** iptables prints matches in an order and with words of its own, so only their number and the targets are compared. */
function sameRules(found: readonly string[], wanted: readonly string[]): boolean {
  return found.length === wanted.length && found.every((rule, i) => targetOf(rule) === targetOf(wanted[i] ?? ""));
}

function targetOf(rule: string): string | undefined {
  return /(?:^| )-[jg] (\S+)/.exec(rule)?.[1];
}
