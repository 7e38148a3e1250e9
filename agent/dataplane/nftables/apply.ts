import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IpFamily } from "#proto/ip.ts";
import type { FollowTools, KernelTools, StandbyTools } from "../exec.ts";
import { digest } from "./held.ts";
import { parseTable, type TableSum } from "./listing.ts";
import type { Existing } from "./plan.ts";
import { layoutOf } from "./render.ts";
import { TABLE, wordsOf, type NftWords } from "./words.ts";

/** The thin edge: text in, kernel changed; or text out. */

export type NftTools = KernelTools & Partial<StandbyTools & FollowTools>;

/** Gives texts to the kernel, each as one transaction: all of it, or nothing. */
export interface Writer {
  write(text: string): Promise<void>;
  close(): void;
}

const NFT = "nft";
const FROM_INPUT = ["-f", "-"];
const WITHIN_MS = 60_000;
/** So much goes into the pipe at once: an agent that is killed has written all of it or nothing. */
const WHOLE_IN_PIPE = 16 * 1024;

/** Without the signal of the caller: a transaction that has begun ends within its time limit, also while the agent is being stopped. */
export function openWriter(tools: NftTools): Writer {
  const standby = tools.standby?.(NFT, FROM_INPUT, { timeoutMs: WITHIN_MS });
  return {
    write: (text) =>
      asWhole(text, async (input) => {
        if (standby) await standby.run(input);
        else await tools.run(NFT, FROM_INPUT, { input, timeoutMs: WITHIN_MS });
      }),
    close: () => standby?.close(),
  };
}

/** The tool takes half a text for a whole one: sets that are flushed and not filled. A long one is in a file before the tool hears of it. */
async function asWhole(text: string, write: (input: string) => Promise<void>): Promise<void> {
  if (text.length <= WHOLE_IN_PIPE) return write(text);
  const folder = await mkdtemp(join(tmpdir(), "fairlead-nft-"));
  try {
    const file = join(folder, "table.nft");
    await writeFile(file, text, { mode: 0o600 });
    await write(`include "${file}"\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The kernel looks at all of it, and keeps nothing. */
export async function check(tools: KernelTools, text: string, signal: AbortSignal): Promise<void> {
  await tools.run(NFT, ["-c", ...FROM_INPUT], { input: text, signal });
}

/** The names of chains cost the same however many services there are. */
export async function findExisting(tools: KernelTools, words: NftWords, signal: AbortSignal): Promise<Existing> {
  const { stdout } = await tools.run(NFT, ["list", "chains", words.ip], { signal });
  const chains: string[] = [];
  let isOurs = false;
  for (const line of stdout.split("\n")) {
    if (line.startsWith("table ")) isOurs = line === `table ${words.ip} ${TABLE} {`;
    const chain = /^\tchain (\S+) \{/.exec(line)?.[1];
    if (isOurs && chain !== undefined) chains.push(chain);
  }
  return { isCurrent: chains.includes(layoutOf(words, digest)), chains };
}

export async function list(tools: KernelTools, words: NftWords, signal: AbortSignal): Promise<TableSum> {
  const { stdout } = await tools.run(NFT, ["-n", "list", "table", words.ip, TABLE], { signal, timeoutMs: WITHIN_MS });
  return parseTable(stdout);
}

export async function hasTable(tools: KernelTools, family: IpFamily, signal: AbortSignal): Promise<boolean> {
  const { ip } = wordsOf(family);
  const { stdout } = await tools.run(NFT, ["list", "tables", ip], { signal });
  return stdout.split("\n").includes(`table ${ip} ${TABLE}`);
}

export async function deleteTable(tools: KernelTools, family: IpFamily): Promise<void> {
  await tools.run(NFT, ["delete", "table", wordsOf(family).ip, TABLE], { timeoutMs: WITHIN_MS });
}

export async function isInstalled(tools: KernelTools): Promise<boolean> {
  return tools.has(NFT);
}
