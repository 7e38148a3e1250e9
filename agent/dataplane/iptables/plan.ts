import type { ForwardingTable, Frontend, HostTable } from "#agent/compile/table.ts";
import { frontendsOf, type FrontendChange } from "../frontends.ts";
import { ChainTree } from "./chain-tree.ts";
import { hookLines, isOurChain, type Listing } from "./listing.ts";
import { REJECTS, SERVICES, treeLevels } from "./names.ts";
import {
  canaryChain,
  dnatRules,
  hostChains,
  intact,
  jumpsOf,
  rejectRules,
  renderSection,
  type ChainEdits,
  type Jump,
  type TableName,
} from "./render.ts";

/** What is to be written, as text for one iptables-restore; and the trees that know what the kernel holds once it is. Reads nothing. */

export interface Rules {
  readonly host: HostTable;
  readonly jumps: readonly Jump[];
  /** nat: frontends with endpoints. */
  readonly services: ChainTree;
  /** filter: frontends without. */
  readonly rejects: ChainTree;
  /** Lists of xt_recent that are there as long as the last write of each table is. Changes with each write. */
  readonly canaries: Record<TableName, string>;
}

export function ruleTreesOf({ host, services }: ForwardingTable, canary: string): Rules {
  const levels = treeLevels(host.serviceCidrs);
  const rules: Rules = {
    host,
    jumps: jumpsOf(host),
    services: new ChainTree({ root: SERVICES, last: intact(SERVICES) }, levels, dnatRules),
    rejects: new ChainTree({ root: REJECTS, last: intact(REJECTS) }, levels, rejectRules),
    canaries: { nat: canaryOf("nat", canary), filter: canaryOf("filter", canary) },
  };
  for (const frontend of frontendsOf(services.values(), "IPv4")) treeOf(rules, frontend).put(frontend);
  return rules;
}

/** Everything, over whatever of ours is there; no moment without rules, because each table changes at once. */
export function planSync(rules: Rules, listings: Record<TableName, Listing>): string {
  const trees = { nat: rules.services, filter: rules.rejects };
  const chains = hostChains(rules.host);
  return (["nat", "filter"] as const)
    .map((table) => {
      const { write } = trees[table].takeEdits();
      const all = new Map([...chains[table], canaryChain(rules.canaries[table]), ...write]);
      const stale = [...listings[table].chains.keys()].filter((chain) => isOurChain(chain) && !all.has(chain));
      return renderSection(table, { write: all, remove: stale }, hookLines(table, listings[table], rules.jumps));
    })
    .join("");
}

/** Only what the changes touch; "" when nothing in the kernel changes. Moves `rules` to the state after it. */
export function applyChanges(rules: Rules, changes: readonly FrontendChange[], canary: string): string {
  const isDnat = (frontend: Frontend | undefined): frontend is Frontend => frontend !== undefined && frontend.backends.length > 0;
  const isReject = (frontend: Frontend | undefined): frontend is Frontend => frontend !== undefined && frontend.backends.length === 0;
  const text: string[] = [];
  const take = (table: TableName, tree: ChainTree): void => {
    const edits = tree.takeEdits();
    if (edits.write.size + edits.remove.length === 0) return;
    const canaryName = canaryOf(table, canary);
    rules.canaries[table] = canaryName;
    text.push(renderSection(table, withCanary(edits, canaryName)));
  };
  // A frontend is refused before it is translated no more, and translated before it is refused no more: no packet falls between.
  for (const { next } of changes) if (isReject(next)) rules.rejects.put(next);
  take("filter", rules.rejects);
  for (const { previous, next } of changes) if (isDnat(previous) && !isDnat(next)) rules.services.remove(previous);
  for (const { next } of changes) if (isDnat(next)) rules.services.put(next);
  take("nat", rules.services);
  for (const { previous, next } of changes) if (isReject(previous) && !isReject(next)) rules.rejects.remove(previous);
  take("filter", rules.rejects);
  return text.join("");
}

/** Every chain of ours that the kernel must hold, and its number of rules. */
export function expectedChains(rules: Rules, table: TableName): ReadonlyMap<string, number> {
  const tree = table === "nat" ? rules.services : rules.rejects;
  const fixed = [...hostChains(rules.host)[table], canaryChain(rules.canaries[table])];
  return new Map([...fixed.map(([chain, lines]) => [chain, lines.length] as const), ...tree.ruleCounts()]);
}

function treeOf(rules: Rules, frontend: Frontend): ChainTree {
  return frontend.backends.length > 0 ? rules.services : rules.rejects;
}

function canaryOf(table: TableName, canary: string): string {
  return `FL-${table}-${canary}`;
}

function withCanary(edits: ChainEdits, canary: string): ChainEdits {
  return { write: new Map([...edits.write, canaryChain(canary)]), remove: edits.remove };
}
