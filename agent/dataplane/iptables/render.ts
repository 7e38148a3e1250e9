import type { ChainEdits } from "./chain-tree.ts";

/** Text as iptables-restore reads it and iptables-save prints it. Pure: the same edits give the same bytes. */

export type TableName = "nat" | "filter";

/** `hookLines`: what is done to chains that are not ours; within the same transaction. */
export function renderSection(table: TableName, edits: ChainEdits, hookLines: readonly string[] = []): string {
  const lines = [`*${table}`];
  for (const chain of edits.write.keys()) lines.push(`:${chain} - [0:0]`);
  for (const chain of edits.remove) lines.push(`:${chain} - [0:0]`); // empties it, so that it can go
  // First, because the kernel looks for a list of xt_recent from the first that was made on: for those of the jumps with each connection.
  lines.push(...hookLines);
  for (const [chain, rules] of edits.write) for (const rule of rules) lines.push(`-A ${chain} ${rule}`);
  for (const chain of edits.remove) lines.push(`-X ${chain}`);
  return `${lines.join("\n")}\nCOMMIT\n`;
}

/** What tells the rules of a chain from others: how many, and a number that follows from their text and order. */
export interface ChainSum {
  readonly rules: number;
  readonly sum: number;
}

export const NO_RULES: ChainSum = { rules: 0, sum: 0 };

/** Of a rule as it is written or printed, from `start` on. Quotes do not count: iptables-save leaves out those that are not needed. */
export function addRule({ rules, sum }: ChainSum, text: string, start = 0): ChainSum {
  let next = Math.imul(sum ^ 10, 16_777_619);
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== 34) next = Math.imul(next ^ code, 16_777_619);
  }
  return { rules: rules + 1, sum: next };
}

export function sumOf(rules: readonly string[]): ChainSum {
  return rules.reduce((sum, rule) => addRule(sum, rule), NO_RULES);
}
