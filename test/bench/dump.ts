import type { KernelTools } from "#agent/dataplane/exec.ts";
import type { Mode } from "./modes.ts";

/**
 * What the kernel holds of ours, in an order of its own and without what differs from write to write (counters, canaries): equal lines, equal
 * behaviour.
 */
export async function dumpOf(tools: KernelTools, mode: Mode): Promise<readonly string[]> {
  const commands: Record<Mode, readonly (readonly string[])[]> = {
    iptables_nft: [["iptables-nft-save"]],
    iptables_legacy: [["iptables-legacy-save"]],
    nftables: [["nft", "-s", "list", "ruleset"]],
    ipvs: [["ipvsadm", "-Sn"], ["ipset", "save"], ["iptables-legacy-save"]],
  };
  const lines: string[] = [];
  for (const [file = "", ...args] of commands[mode]) lines.push(...linesOf((await tools.run(file, args, { timeoutMs: 120_000 })).stdout));
  return lines;
}

/** Pure. Rules keep their order within their chain. */
export function linesOf(text: string): readonly string[] {
  const chains = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#") || line.startsWith("-A FL-CANARY ")) continue;
    const chain = /^-A (\S+) /.exec(line)?.[1] ?? "";
    const lines = chains.get(chain) ?? [];
    chains.set(chain, lines);
    lines.push(line.replace(/ \[\d+:\d+\]$/, ""));
  }
  const others = chains.get("")?.toSorted() ?? [];
  const rules = [...chains].filter(([chain]) => chain !== "").toSorted(([a], [b]) => (a < b ? -1 : 1));
  return [...others, ...rules.flatMap(([, found]) => found)];
}
