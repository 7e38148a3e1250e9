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

/** Drawn by the kernel for each set, and how large its table has become. */
const SEED_OF_A_SET = / hashsize \d+| bucketsize \d+| initval 0x[0-9a-f]+/g;

/** Pure. Rules keep their order within their chain; elements of a set have none. */
export function linesOf(text: string): readonly string[] {
  const groups = new Map<string, string[]>();
  let object = ""; // of nftables, in which the lines stand
  for (const raw of text.split("\n")) {
    const line = raw
      .trim()
      .replace(/ \[\d+:\d+\]$/, "")
      .replace(SEED_OF_A_SET, "");
    if (line === "" || line.startsWith("#") || isCanary(line)) continue;
    object = /^((?:map|set|chain) \S+) \{$/.exec(line)?.[1] ?? object;
    const group = /^-A (\S+) /.exec(line)?.[1] ?? object;
    const lines = groups.get(group) ?? [];
    groups.set(group, lines);
    if (/^(map|set) /.test(group))
      lines.push(
        ...line
          .replace(/^elements = \{ /, "")
          .replace(/[ ,}]+$/, "")
          .split(", "),
      );
    else lines.push(line);
  }
  const sorted = [...groups].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return sorted.flatMap(([group, lines]) => (/^(map|set) |^$/.test(group) ? lines.toSorted() : lines).map((line) => `${group}: ${line}`));
}

/** What differs from write to write and from agent to agent. */
function isCanary(line: string): boolean {
  return /^-A FLV?-CANARY /.test(line) || /^elements = \{ 0x[0-9a-f]{8} \. 0x[0-9a-f]{8} \}$/.test(line);
}
