import type { KernelTools, StandbyTools } from "../exec.ts";
import { parseListing, type Listing } from "./listing.ts";
import type { TableName } from "./render.ts";

/** The thin edge: text in, kernel changed; or text out. */

export type IptablesKind = "nft" | "legacy";

const ARGUMENTS = ["--noflush", "-w", "5"];
const WITHIN_MS = 60_000;

/** Gives texts to the kernel. */
export interface Restorer {
  /** One transaction a table, the tables in the order of the text. On failure the table at fault is as it was. */
  restore(text: string): Promise<void>;
  close(): void;
}

export type RestoreTools = KernelTools & Partial<StandbyTools>;

export async function restore(tools: KernelTools, kind: IptablesKind, text: string): Promise<void> {
  await tools.run(program(kind), ARGUMENTS, { input: text, timeoutMs: WITHIN_MS });
}

/** Without the signal of the caller: a transaction that has begun ends within its time limit, also while the agent is being stopped. */
export function openRestorer(tools: RestoreTools, kind: IptablesKind): Restorer {
  const standby = tools.standby?.(program(kind), ARGUMENTS, { timeoutMs: WITHIN_MS });
  return {
    restore: async (text) => {
      await (standby ? standby.run(text) : restore(tools, kind, text));
    },
    close: () => standby?.close(),
  };
}

export async function list(tools: KernelTools, kind: IptablesKind, table: TableName, signal: AbortSignal): Promise<Listing> {
  const { stdout } = await tools.run(`iptables-${kind}-save`, ["-t", table], { signal, timeoutMs: 60_000 });
  return parseListing(stdout);
}

/** Only the hooks: on the nf_tables back end this costs the same however many services there are. */
export async function listHooks(
  tools: KernelTools,
  { kind, table, hooks }: { readonly kind: IptablesKind; readonly table: TableName; readonly hooks: readonly string[] },
  signal: AbortSignal,
): Promise<Listing> {
  const texts: string[] = [];
  for (const hook of hooks) {
    const { stdout } = await tools.run(`iptables-${kind}`, ["-w", "5", "-t", table, "-S", hook], { signal });
    texts.push(stdout.replace(/^-P (\S+) (\S+)$/m, ":$1 $2"));
  }
  return parseListing(texts.join("\n"));
}

function program(kind: IptablesKind): string {
  return `iptables-${kind}-restore`;
}
