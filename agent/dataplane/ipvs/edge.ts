import type { IpFamily } from "#proto/ip.ts";
import { AppError } from "#proto/error.ts";
import type { KernelTools, Standby, StandbyTools, ToolResult } from "../exec.ts";
import { wholeText } from "../tool-input.ts";
import type { IptablesKind } from "../iptables/apply.ts";
import { familyOption } from "./device.ts";
import { parseRules, parseServers, parseSets, parseSetSizes, type RuleListing } from "./listing.ts";
import type { TableName } from "./render.ts";
import type { HeldServer, ServerKey } from "./servers.ts";
import type { Held } from "./state.ts";
import type { SetName } from "./names.ts";
import { standingOfServers } from "./proc.ts";

/** The thin edge: text in, kernel changed; or text out. */

export interface Edge {
  /** `ipset restore`: a line after the other; what is there may be added, and what is not may be deleted. */
  sets(text: string): Promise<void>;
  /** `ipvsadm -R`: a line after the other. */
  servers(text: string): Promise<void>;
  /** `ip -batch`; goOn: a line that is refused says that there was nothing to take away. */
  ip(lines: readonly string[], options?: { readonly goOn: boolean }): Promise<void>;
  /** `iptables-restore`: a transaction for each table. */
  rules(kind: IptablesKind, text: string): Promise<void>;
  listSets(signal: AbortSignal): Promise<Held["sets"]>;
  listSetSizes(signal: AbortSignal): Promise<ReadonlyMap<SetName, number>>;
  listServers(signal: AbortSignal): Promise<Map<ServerKey, HeldServer>>;
  /** All tables at once; of the legacy kind, those that are there: none is made by being listed. */
  listRules(kind: IptablesKind, signal: AbortSignal): Promise<Readonly<Record<TableName, RuleListing>>>;
  close(): void;
}

export type EdgeTools = KernelTools & Partial<StandbyTools>;

const WITHIN_MS = 60_000;
const LONG_MS = 300_000; // 10,000 virtual servers take 25 s in User-Mode Linux

export const programOf = (family: IpFamily): "iptables" | "ip6tables" => (family === "IPv4" ? "iptables" : "ip6tables");

/** Without the signal of the caller: what has begun ends within its time limit, also while the agent is being stopped. */
export function openEdge(tools: EdgeTools, { family, procNet }: { readonly family: IpFamily; readonly procNet: string }): Edge {
  const sets = runner(tools, "ipset", ["-exist", "restore"]);
  const servers = runner(tools, "ipvsadm", ["-R"]);
  const list = async (file: string, args: readonly string[], signal: AbortSignal): Promise<string> =>
    (await tools.run(file, args, { signal, timeoutMs: LONG_MS })).stdout;
  return {
    sets: async (text) => {
      if (text !== "") await sets.run(text);
    },
    servers: async (text) => {
      if (text !== "") refused(await servers.run(text));
    },
    ip: async (lines, { goOn } = { goOn: false }) => {
      if (lines.length === 0) return;
      const args = [familyOption(family), ...(goOn ? ["-force"] : []), "-batch", "-"];
      await tools.run("ip", args, { input: lines.map((line) => `${line}\n`).join(""), timeoutMs: WITHIN_MS, accept: goOn ? [1] : [] });
    },
    rules: async (kind, text) => {
      await tools.run(`${programOf(family)}-${kind}-restore`, ["--noflush", "-w", "5"], { input: text, timeoutMs: WITHIN_MS });
    },
    listSets: async (signal) => parseSets(await list("ipset", ["save"], signal), family),
    listSetSizes: async (signal) => parseSetSizes(await list("ipset", ["list", "-t"], signal), family),
    listServers: async (signal) =>
      parseServers((await standingOfServers(procNet)) === "none" ? "" : await list("ipvsadm", ["-Sn"], signal), family),
    listRules: async (kind, signal) => parseRules(await list(`${programOf(family)}-${kind}-save`, [], signal)),
    close: () => {
      sets.close();
      servers.close();
    },
  };
}

function runner(tools: EdgeTools, file: string, args: readonly string[]): Omit<Standby, "prepare"> {
  return (
    tools.standby?.(file, args, { timeoutMs: LONG_MS }) ?? {
      run: (input) => tools.run(file, args, { input: wholeText(input), timeoutMs: LONG_MS }),
      close: () => undefined,
    }
  );
}

/** ipvsadm goes on after a line that the kernel refuses, and ends with 0 all the same. */
function refused({ stderr }: ToolResult): void {
  const said = stderr.split("\n").filter((line) => line.trim() !== "");
  if (said.length > 0) throw new AppError("KernelRejected", `ipvsadm -R: ${[...new Set(said)].slice(0, 3).join("; ").slice(0, 500)}`);
}
