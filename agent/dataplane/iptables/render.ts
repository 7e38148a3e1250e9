import type { ChainEdits } from "./chain-tree.ts";

/** Text as iptables-restore reads it and iptables-save prints it. Pure: the same edits give the same bytes. */

/** raw: of routed networks alone (routed.ts). */
export type TableName = "nat" | "filter" | "raw";

/** Of a piece, which goes to the tool while the next is made; about, and in characters. */
const PIECE = 24_000;

/**
 * In pieces of whole lines: the text of a first program is never in memory as a whole. `hookLines`: what is done to chains that are not ours; within the
 * same transaction.
 */
export function* renderSection(table: TableName, edits: ChainEdits, hookLines: readonly string[] = []): Generator<string> {
  let piece = `*${table}\n`;
  for (const chain of edits.write.keys()) piece += `:${chain} - [0:0]\n`;
  for (const chain of edits.remove) piece += `:${chain} - [0:0]\n`; // empties it, so that it can go
  // First, because the kernel looks for a list of xt_recent from the first that was made on: for those of the jumps with each connection.
  for (const line of hookLines) piece += `${line}\n`;
  for (const [chain, rulesOf] of edits.write) {
    for (const rule of rulesOf()) piece += `-A ${chain} ${rule}\n`;
    if (piece.length < PIECE) continue;
    yield piece;
    piece = "";
  }
  for (const chain of edits.remove) piece += `-X ${chain}\n`;
  yield `${piece}COMMIT\n`;
}

/** What tells the rules of a chain from others: how many, and a number that follows from their text and order. */
export interface ChainSum {
  readonly rules: number;
  readonly sum: number;
}

export const NO_RULES: ChainSum = { rules: 0, sum: 0 };

/** Of a rule as it is written or printed, from `start` on. */
export function addRule({ rules, sum }: ChainSum, text: string, start = 0): ChainSum {
  return { rules: rules + 1, sum: sumWith(sum, text, start) };
}

export function sumOf(rules: readonly string[]): ChainSum {
  let sum = 0;
  for (const rule of rules) sum = sumWith(sum, rule, 0);
  return { rules: rules.length, sum };
}

/** Quotes do not count: iptables-save leaves out those that are not needed. */
function sumWith(sum: number, text: string, start: number): number {
  let next = Math.imul(sum ^ 10, 16_777_619);
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== 34) next = Math.imul(next ^ code, 16_777_619);
  }
  return next;
}
