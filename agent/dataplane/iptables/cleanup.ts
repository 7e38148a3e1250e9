import { AppError } from "#proto/error.ts";
import type { KernelTools } from "../exec.ts";
import { legacyTables, list, restore, type IptablesKind, type Target } from "./apply.ts";
import { hookLines, isOurJump, type Listing } from "./listing.ts";
import { renderSection, type TableName } from "./render.ts";
import type { Words } from "./words.ts";

/** Takes out what is ours, in one transaction a table, and looks whether it is gone. A table that holds nothing of ours is not written. */
export async function cleanupTables(
  tools: KernelTools,
  { kinds, words, dryRun, tables = TABLES }: CleanupWords,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const kind of kinds) {
    const target = { kind, words };
    for (const table of await tablesOf(tools, target, tables)) {
      const listing = await list(tools, target, table, signal);
      const ours = namesOfOurs(target, table, listing);
      if (ours.length === 0) continue;
      removed.push(...ours);
      if (dryRun) continue;
      const remove = [...listing.chains.keys()];
      await restore(tools, target, renderSection(table, { write: new Map(), remove }, hookLines(words, listing, [])));
      const left = namesOfOurs(target, table, await list(tools, target, table, signal));
      if (left.length > 0) throw new AppError("KernelRejected", `still there after the clean-up: ${left.slice(0, 5).join(", ")}`);
    }
  }
  return removed;
}

export interface CleanupWords {
  readonly kinds: readonly IptablesKind[];
  readonly words: Words;
  readonly dryRun: boolean;
  readonly tables?: readonly TableName[];
}

/** nat first: what is translated no more is still refused. */
const TABLES: readonly TableName[] = ["nat", "filter"];

async function tablesOf(tools: KernelTools, { kind, words }: Target, tables: readonly TableName[]): Promise<readonly TableName[]> {
  if (kind === "nft") return tables;
  const there = await legacyTables(tools, words.family);
  return tables.filter((table) => there.has(table));
}

function namesOfOurs({ kind, words }: Target, table: TableName, listing: Listing): readonly string[] {
  const at = `${words.program}-${kind} ${table}`;
  const jumps = [...listing.hooks].flatMap(([hook, rules]) => rules.filter((rule) => isOurJump(words, rule)).map(() => `${at} ${hook}: jump`)); // prettier-ignore
  return [...jumps, ...[...listing.chains.keys()].map((chain) => `${at} chain ${chain}`)];
}
