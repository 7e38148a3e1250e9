import { AppError } from "#proto/error.ts";
import type { KernelTools } from "../exec.ts";
import { list, restore, type IptablesKind } from "./apply.ts";
import { hookLines, isOurJump, type Listing } from "./listing.ts";
import { renderSection, type TableName } from "./render.ts";

/** Takes out what is ours, in one transaction a table, and looks whether it is gone. A table that holds nothing of ours is not written. */
export async function cleanupTables(
  tools: KernelTools,
  { kinds, dryRun }: { readonly kinds: readonly IptablesKind[]; readonly dryRun: boolean },
  signal: AbortSignal,
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const kind of kinds) {
    for (const table of await tablesOf(tools, kind, signal)) {
      const listing = await list(tools, kind, table, signal);
      const ours = namesOfOurs(kind, table, listing);
      if (ours.length === 0) continue;
      removed.push(...ours);
      if (dryRun) continue;
      const remove = [...listing.chains.keys()];
      await restore(tools, kind, renderSection(table, { write: new Map(), remove }, hookLines(table, listing, [])));
      const left = namesOfOurs(kind, table, await list(tools, kind, table, signal));
      if (left.length > 0) throw new AppError("KernelRejected", `still there after the clean-up: ${left.slice(0, 5).join(", ")}`);
    }
  }
  return removed;
}

const TABLES: readonly TableName[] = ["nat", "filter"];

/** Listing a legacy table makes it where there was none; nf_tables only looks. */
async function tablesOf(tools: KernelTools, kind: IptablesKind, signal: AbortSignal): Promise<readonly TableName[]> {
  if (kind === "nft") return TABLES;
  const { stdout } = await tools.run("cat", ["/proc/net/ip_tables_names"], { signal, accept: [1] });
  const there = new Set(stdout.split("\n"));
  return TABLES.filter((table) => there.has(table));
}

function namesOfOurs(kind: IptablesKind, table: TableName, listing: Listing): readonly string[] {
  const jumps = [...listing.hooks].flatMap(([hook, rules]) => rules.filter(isOurJump).map(() => `iptables-${kind} ${table} ${hook}: jump`));
  return [...jumps, ...[...listing.chains.keys()].map((chain) => `iptables-${kind} ${table} chain ${chain}`)];
}
