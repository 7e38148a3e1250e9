import type { IpFamily } from "#proto/ip.ts";
import type { KernelTools, StandbyTools } from "../exec.ts";
import { wholeText, type ToolInput } from "../tool-input.ts";
import { parseListing, type Listing } from "./listing.ts";
import { DOCKER_USER } from "./render-host.ts";
import type { TableName } from "./render.ts";
import type { Words } from "./words.ts";

/** The thin edge: text in, kernel changed; or text out. */

export type IptablesKind = "nft" | "legacy";

/** `-w`: others may hold the xtables lock for so long, in seconds; then it is an error that says so, and the loop tries again. */
const ARGUMENTS = ["--noflush", "-w", "5"];
const WITHIN_MS = 60_000;

/** Which iptables of which family. */
export interface Target {
  readonly kind: IptablesKind;
  readonly words: Words;
}

/** Gives texts to the kernel. */
export interface Restorer {
  /** One transaction a table, the tables in the order of the text. On failure the table at fault is as it was. */
  restore(text: ToolInput): Promise<void>;
  /** A text is being made: what will read it is begun. */
  prepare(): void;
  close(): void;
}

export type RestoreTools = KernelTools & Partial<StandbyTools>;

export async function restore(tools: KernelTools, target: Target, text: ToolInput): Promise<void> {
  await tools.run(restoreProgram(target), ARGUMENTS, { input: wholeText(text), timeoutMs: WITHIN_MS });
}

/** Without the signal of the caller: a transaction that has begun ends within its time limit, also while the agent is being stopped. */
export function openRestorer(tools: RestoreTools, target: Target): Restorer {
  const standby = tools.standby?.(restoreProgram(target), ARGUMENTS, { timeoutMs: WITHIN_MS });
  return {
    restore: async (text) => {
      await (standby ? standby.run(text) : restore(tools, target, text));
    },
    prepare: () => standby?.prepare(),
    close: () => standby?.close(),
  };
}

export async function list(tools: KernelTools, { kind, words }: Target, table: TableName, signal: AbortSignal): Promise<Listing> {
  const { stdout } = await tools.run(`${words.program}-${kind}-save`, ["-t", table], { signal, timeoutMs: 60_000 });
  return parseListing(words, stdout);
}

/** Only the hooks: on the nf_tables back end this costs the same however many services there are. */
export async function listHooks(
  tools: KernelTools,
  { kind, words, table, hooks }: Target & { readonly table: TableName; readonly hooks: readonly string[] },
  signal: AbortSignal,
): Promise<Listing> {
  const texts: string[] = [];
  for (const hook of hooks) {
    const options = { signal, accept: hook === DOCKER_USER ? [1] : [] }; // a host without Docker does not have it
    const { stdout } = await tools.run(`${words.program}-${kind}`, ["-w", "5", "-t", table, "-S", hook], options);
    texts.push(stdout.replace(/^-P (\S+) (\S+)$/m, ":$1 $2").replace(/^-N (\S+)$/m, ":$1 -"));
  }
  return parseListing(words, texts.join("\n"));
}

/** Legacy tables that are there; listing one that is not makes it, and an empty one costs every packet a little. */
export async function legacyTables(tools: Pick<KernelTools, "read">, family: IpFamily): Promise<ReadonlySet<string>> {
  const names = (await tools.read(family === "IPv4" ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names")) ?? "";
  return new Set(names.split("\n").filter((name) => name !== ""));
}

function restoreProgram({ kind, words }: Target): string {
  return `${words.program}-${kind}-restore`;
}
