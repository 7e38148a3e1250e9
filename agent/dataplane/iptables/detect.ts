import type { IpFamily } from "#proto/ip.ts";
import type { KernelTools } from "../exec.ts";
import { legacyTables, list, type IptablesKind } from "./apply.ts";
import { wordsOf } from "./words.ts";

/**
 * Which of the two iptables this host uses. The rules of both apply at the same time and neither shows the other's, so ours must stand where those
 * stand that the host's other programs write.
 */
export interface IptablesFound {
  readonly kind: IptablesKind;
  /** Why this one. */
  readonly why: string;
  readonly warning: string | undefined;
  /** Both kinds that are installed; leftovers of ours may be in either. */
  readonly installed: readonly IptablesKind[];
}

export async function detectIptables(tools: KernelTools, family: IpFamily, signal: AbortSignal): Promise<IptablesFound | undefined> {
  const kinds: readonly IptablesKind[] = ["nft", "legacy"];
  const { program } = wordsOf(family);
  const installed: IptablesKind[] = [];
  for (const kind of kinds) if (await tools.has(`${program}-${kind}-restore`)) installed.push(kind);
  const [first] = installed;
  if (first === undefined) return undefined;
  const usual = (await usualKind(tools, program, signal)) ?? first;
  const rules = { nft: 0, legacy: 0 };
  for (const kind of installed) rules[kind] = await foreignRules(tools, { kind, family }, signal);
  const inUse = installed.filter((kind) => rules[kind] > 0);
  const counts = `${rules.nft} rules of others in nf_tables, ${rules.legacy} in legacy`;
  if (inUse.length === 2)
    return {
      kind: usual,
      why: `it is the host's \`${program}\` (${counts})`,
      warning: `this host has rules both in ${program}-nft and in ${program}-legacy (${counts}); both apply, and each tool shows only its own`,
      installed,
    };
  const [only] = inUse;
  if (only !== undefined) return { kind: only, why: `the host's rules are there (${counts})`, warning: undefined, installed };
  return { kind: installed.includes(usual) ? usual : first, why: `it is the host's \`${program}\``, warning: undefined, installed };
}

/** What plain `iptables` is here. */
async function usualKind(tools: KernelTools, program: string, signal: AbortSignal): Promise<IptablesKind | undefined> {
  if (!(await tools.has(program))) return undefined;
  const { stdout } = await tools.run(program, ["--version"], { signal });
  return stdout.includes("nf_tables") ? "nft" : "legacy";
}

async function foreignRules(
  tools: KernelTools,
  { kind, family }: { readonly kind: IptablesKind; readonly family: IpFamily },
  signal: AbortSignal,
): Promise<number> {
  if (kind === "legacy" && (await legacyTables(tools, family)).size === 0) return 0;
  let sum = 0;
  for (const table of ["nat", "filter"] as const) sum += (await list(tools, { kind, words: wordsOf(family) }, table, signal)).foreignRules;
  return sum;
}
