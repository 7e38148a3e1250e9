import { access, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pause } from "#proto/backoff.ts";
import { AppError, describeError, isAppError } from "#proto/error.ts";
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

/** Where to look. */
export interface Traces {
  readonly tools: HostTools;
  /** The agent's, which remembers tables that only `nft` could show. */
  readonly stateDir: string;
  readonly procNet?: string;
}

export interface Leftovers extends Traces {
  readonly log: DataplaneLog;
  readonly parts: readonly Part[];
  readonly dryRun: boolean;
}

/** Files of the state folder. */
export const TABLE_MARKS: Readonly<Record<IpFamily, string>> = { IPv4: "nftables-ip", IPv6: "nftables-ip6" };

const FAMILIES: readonly IpFamily[] = ["IPv4", "IPv6"];

export const EVERY_PART: readonly Part[] = MODES.flatMap((mode) => FAMILIES.map((family) => ({ mode, family })));

/** After one mode has taken over a family: the others of it, and all of a family that the fleet no longer has. */
export function partsBeside({ mode, family }: Part, wanted: readonly IpFamily[]): readonly Part[] {
  return EVERY_PART.filter((part) => (part.family === family ? part.mode !== mode : !wanted.includes(part.family)));
}

/** What the modes share stays when one of them goes; see restoreIpvsSettings for the rest. */
const SYSCTLS_STAY: Sysctls = { ensure: async () => [], restore: async () => [] };

/** Takes away what is there of these parts, and says what. One that fails does not keep the others; then throws all that failed. */
export async function removeLeftovers({ log, parts, dryRun, ...traces }: Leftovers, signal: AbortSignal): Promise<readonly string[]> {
  const { tools } = traces;
  const removed: string[] = [];
  const failures: unknown[] = [];
  for (const { mode, family } of parts) {
    const driver = await openDriver({ dataplane: mode, family, tools, log, sysctls: SYSCTLS_STAY });
    try {
      const gone = await driver.cleanup({ dryRun }, signal);
      removed.push(...gone);
      // IPVS looks for its tools itself: both families have one device.
      if (mode !== "ipvs" && (!dryRun || gone.length === 0)) await expectNoTraces({ mode, family }, traces, signal);
      if (mode === "nftables" && !dryRun) await rm(tableMark(traces.stateDir, family), { force: true });
    } catch (error) {
      signal.throwIfAborted();
      failures.push(error);
    } finally {
      driver.close();
    }
  }
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw togetherOf(failures);
  return removed;
}

/** The kernel lets go of the lists that rules of nf_tables name a moment after the rules. */
const LETS_GO_MS = 2_000;

/** The tools that took ours away also said that nothing is left: where one of them is missing, that is no proof. This looks without any. */
async function expectNoTraces(part: Part, traces: Traces, signal: AbortSignal): Promise<void> {
  const end = performance.now() + LETS_GO_MS;
  while (await hasTraces(part, traces, signal)) {
    if (performance.now() > end)
      throw new AppError(
        "KernelRejected",
        `rules of ${part.mode} for ${part.family} are still on this host, and the tools to take them away are not`,
        { hint: `apt-get install ${part.mode}, and then this again` },
      );
    await pause(50, signal);
  }
}

/** Before the first table of a family is made: without `nft` nobody can see later whether there is one. */
export async function markTable(stateDir: string, family: IpFamily): Promise<void> {
  await writeFile(tableMark(stateDir, family), "");
}

function tableMark(stateDir: string, family: IpFamily): string {
  return join(stateDir, TABLE_MARKS[family]);
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
  { tools, stateDir, procNet = "/proc/net" }: Traces,
  signal: AbortSignal,
): Promise<boolean> {
  switch (mode) {
    case "iptables":
      return hasList(procNet, wordsOf(family).list, wordsOf(family, "beside").list);
    case "ipvs":
      return hasIpvsDevice(procNet);
    case "nftables": {
      if (await hasList(procNet, wordsOf(family, "passage").list)) return true;
      if (!(await tools.has("nft"))) return isThere(tableMark(stateDir, family));
      const { stdout } = await tools.run("nft", ["list", "tables"], { signal, timeoutMs: 5_000 });
      return stdout.split("\n").includes(`table ${tableWord(nftWordsOf(family))}`);
    }
  }
}

async function isThere(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

function togetherOf(failures: readonly unknown[]): AppError {
  const hints = new Set(failures.flatMap((failure) => (isAppError(failure) ? (failure.hint ?? []) : [])));
  const cause = new AggregateError(failures);
  return new AppError("KernelRejected", failures.map(describeError).join("; "), {
    cause,
    ...(hints.size > 0 && { hint: [...hints].join("; ") }),
  });
}

async function hasIpvsDevice(procNet: string): Promise<boolean> {
  return (await readFile(join(procNet, "dev"), "utf8")).includes(`${DEVICE}:`);
}

async function hasList(procNet: string, ...names: readonly string[]): Promise<boolean> {
  const lists = await readdir(join(procNet, "xt_recent")).catch(() => []); // the module is not loaded: no rule names any
  return lists.some((list) => names.some((name) => list.startsWith(`${name}-`)));
}
