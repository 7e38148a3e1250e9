import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describeError } from "#proto/error.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { HostTools } from "./exec.ts";
import { wordsOf } from "./iptables/words.ts";
import { DEVICE } from "./ipvs/names.ts";
import type { DataplaneLog } from "./log.ts";
import { tableWord } from "./nftables/render.ts";
import { wordsOf as nftWordsOf } from "./nftables/words.ts";
import { MODES, openDriver, type Mode } from "./select.ts";
import type { Sysctls } from "./sysctl.ts";

/** What data planes have left on a host: that of an agent that ran in another mode, of one that was killed, or all of it for cleanup. */

export interface Part {
  readonly mode: Mode;
  readonly family: IpFamily;
}

export interface Leftovers {
  readonly tools: HostTools;
  readonly log: DataplaneLog;
  readonly parts: readonly Part[];
  readonly dryRun: boolean;
}

const FAMILIES: readonly IpFamily[] = ["IPv4", "IPv6"];

export const EVERY_PART: readonly Part[] = MODES.flatMap((mode) => FAMILIES.map((family) => ({ mode, family })));

/** After one mode has taken over a family: the others of it, and all of a family that the fleet no longer has. */
export function partsBeside({ mode, family }: Part, wanted: readonly IpFamily[]): readonly Part[] {
  return EVERY_PART.filter((part) => (part.family === family ? part.mode !== mode : !wanted.includes(part.family)));
}

/** What the modes share stays when one of them goes; see restoreIpvsSettings for the rest. */
const SYSCTLS_STAY: Sysctls = { ensure: async () => [], restore: async () => [] };

/** Takes away what is there of these parts, and says what. One that fails does not keep the others; then throws all that failed. */
export async function removeLeftovers({ tools, log, parts, dryRun }: Leftovers, signal: AbortSignal): Promise<readonly string[]> {
  const removed: string[] = [];
  const failures: unknown[] = [];
  for (const { mode, family } of parts) {
    const driver = await openDriver({ dataplane: mode, family, tools, log, sysctls: SYSCTLS_STAY });
    try {
      removed.push(...(await driver.cleanup({ dryRun }, signal)));
    } catch (error) {
      signal.throwIfAborted();
      failures.push(error);
    } finally {
      driver.close();
    }
  }
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, failures.map(describeError).join("; "));
  return removed;
}

/** Those that no other mode sets: of virtual servers, and who answers for an address that every host has. */
const OF_IPVS = /^net[./]ipv4[./](vs[./]|conf[./].+[./]arp_(ignore|announce)$)/;

/** Puts back what IPVS has set, once nothing of it is here any more: an earlier agent may have been ended between the two. */
export async function restoreIpvsSettings({
  sysctls,
  procNet = "/proc/net",
}: {
  readonly sysctls: Sysctls;
  readonly procNet?: string;
}): Promise<readonly string[]> {
  if (await hasIpvsDevice(procNet)) return []; // of the other family
  return sysctls.restore({ dryRun: false, only: (name) => OF_IPVS.test(name) });
}

/**
 * Is it worth a thorough look? At each start of the agent, and a host with 10,000 services has rules that take seconds to list. Our rules of iptables name
 * lists of xt_recent, which are files as long as the rules are there; IPVS makes its device before all else, and takes it away last.
 */
export async function hasTraces(
  { mode, family }: Part,
  { tools, procNet = "/proc/net" }: { readonly tools: HostTools; readonly procNet?: string },
  signal: AbortSignal,
): Promise<boolean> {
  switch (mode) {
    case "iptables":
      return hasList(procNet, wordsOf(family).list);
    case "ipvs":
      return hasIpvsDevice(procNet);
    case "nftables": {
      if (await hasList(procNet, wordsOf(family, "passage").list)) return true;
      if (!(await tools.has("nft"))) return false;
      const { stdout } = await tools.run("nft", ["list", "tables"], { signal, timeoutMs: 5_000 });
      return stdout.split("\n").includes(`table ${tableWord(nftWordsOf(family))}`);
    }
  }
}

async function hasIpvsDevice(procNet: string): Promise<boolean> {
  return (await readFile(join(procNet, "dev"), "utf8")).includes(`${DEVICE}:`);
}

async function hasList(procNet: string, name: string): Promise<boolean> {
  const lists = await readdir(join(procNet, "xt_recent")).catch(() => []); // the module is not loaded: no rule names any
  return lists.some((list) => list.startsWith(`${name}-`));
}
