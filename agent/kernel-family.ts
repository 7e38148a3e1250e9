import { backoffMs, pause } from "#proto/backoff.ts";
import { describeError } from "#proto/error.ts";
import { clearUntilGone } from "./clear-leftovers.ts";
import type { DataplaneDriver } from "./dataplane/driver.ts";
import type { FamilyRecord } from "./dataplane/family-record.ts";
import { hasTraces, markTable, partsBeside, removeLeftovers, restoreIpvsSettings, type Part } from "./dataplane/leftovers.ts";
import { dataplaneLoop, type DataplaneDeps } from "./dataplane/loop.ts";
import type { TableMailbox } from "./dataplane/mailbox.ts";
import { lookEveryMs } from "./dataplane/schedule.ts";
import { chooseDriver } from "./dataplane/select.ts";
import type { Sysctls } from "./dataplane/sysctl.ts";
import type { KernelDeps } from "./kernel.ts";
import { runAll } from "./sync/scope.ts";
import { createWake } from "./sync/wake.ts";

const LOOK_FOR_RESTORED_MS = 2_000;
const LOOK_AGAIN = { baseMs: 1000, maxMs: 30_000 };

export interface FamilyDeps extends KernelDeps {
  readonly family: FamilyRecord["family"];
  readonly mailbox: TableMailbox;
  readonly record: FamilyRecord;
  readonly sysctls: Sysctls;
  /** Settings of connection tracking, which is there when the first rules are. */
  readonly tuneOnce: () => Promise<void>;
  /** Of all families. */
  readonly records: readonly FamilyRecord[];
}

/** A kernel tool that is missing or fails is reported and tried again: it may be installed, and DNS and heartbeats go on meanwhile. */
export async function programFamily(deps: FamilyDeps, signal: AbortSignal): Promise<void> {
  const { config, family, record, applied, trouble, tools, sysctls } = deps;
  const { dataplane, log } = config;
  let said: string | undefined;
  const refused = (error: unknown): void => {
    const text = describeError(error);
    if (text !== said) log.error({ family, error: text }, "the data plane cannot work here yet; trying on");
    said = text;
    trouble.set(subject(family), error);
  };
  for (let failures = 0; !signal.aborted; failures++) {
    record.turnedAt = performance.now();
    let driver: DataplaneDriver | undefined;
    try {
      const onProblem = (problem: string | undefined): void => trouble.set(`UDP over ${family}`, problem);
      const chosen = await chooseDriver({ dataplane, family, tools, sysctls, log, onProblem }, signal);
      driver = chosen.driver;
      record.unusable = chosen.driver ? undefined : describeError(chosen.unusable);
      if (chosen.driver) {
        record.driver = `${chosen.driver.name}: ${chosen.why}`;
        if (chosen.driver.name === "nftables") await markTable(config.stateDir, family);
        trouble.set(subject(family), undefined);
        await runDriver(deps, chosen.driver, signal);
      } else {
        applied.excuse(family);
        refused(chosen.unusable);
      }
    } catch (error) {
      if (isOver(signal)) return;
      record.failure = describeError(error);
      refused(error);
      deps.recompile(); // what the loop had taken is lost
    } finally {
      driver?.close();
    }
    await pause(backoffMs(failures + 1, Math.random(), LOOK_AGAIN), signal);
  }
}

async function runDriver(deps: FamilyDeps, driver: DataplaneDriver, signal: AbortSignal): Promise<void> {
  const hasTakenOver = createWake();
  const { mailbox, config } = deps;
  const told = { ...toldOf(deps, hasTakenOver.ring.bind(hasTakenOver)), verifyIntervalMs: lookEveryMs, log: config.log };
  await runAll(signal, {
    loop: (end) => dataplaneLoop({ driver, mailbox, ...told }, end),
    leftovers: async (end) => {
      await hasTakenOver.wait(end);
      if (isOver(end)) return;
      await deps.tuneOnce();
      while (!end.aborted) {
        await clearLeftovers(deps, driver, end);
        await untilRestored(deps, driver, end);
      }
    },
  });
}

/** Who hears of what the loop does. */
function toldOf(
  { family, record, applied, trouble, events, metrics }: FamilyDeps,
  onFirst: () => void,
): Pick<DataplaneDeps, "onApplied" | "onDrift" | "onFailure" | "onTurn"> {
  return {
    onApplied(revision, tookMs) {
      if (tookMs !== undefined) metrics.wrote(family, tookMs / 1000);
      record.isProgrammed = true;
      record.failure = undefined;
      onFirst();
      applied.applied(revision, family);
    },
    onDrift(missing) {
      metrics.repaired(family);
      const what = missing.join(", ");
      events.tell({
        reason: "RulesRepaired",
        about: family,
        message: `somebody else removed or changed ${family} rules of this host, and they were put back: ${what}`,
      });
    },
    onTurn: () => (record.turnedAt = performance.now()),
    onFailure(error) {
      trouble.set(subject(family), error);
      record.failure = error && describeError(error);
      if (!error) return;
      metrics.failed(family);
      events.tell({
        reason: "RulesNotApplied",
        about: family,
        quietMs: 60_000,
        message: `the kernel refused the rules for ${family}; those of before stay, and it is tried again: ${describeError(error)}`,
      });
    },
  };
}

/** Rules of another mode would translate too; once ours are in place, so that there is always one that does. */
async function clearLeftovers(deps: FamilyDeps, { name }: DataplaneDriver, signal: AbortSignal): Promise<void> {
  const { config, family, families, tools, trouble, sysctls, records } = deps;
  const { log, stateDir } = config;
  const found: Part[] = [];
  const clear = async (end: AbortSignal): Promise<readonly string[]> => {
    const removed: string[] = [];
    for (const part of partsBeside({ mode: name, family }, families)) {
      if (!(await hasTraces(part, { tools, stateDir }, end))) continue;
      found.push(part);
      removed.push(...(await removeLeftovers({ tools, stateDir, log, parts: [part], dryRun: false }, end)));
    }
    const isIpvsHere = records.some(({ driver }) => driver?.startsWith("ipvs:"));
    return isIpvsHere ? removed : [...removed, ...(await restoreIpvsSettings({ sysctls }))];
  };
  await clearUntilGone({ clear, onTrouble: (error) => trouble.set(`leftovers of ${family}`, error), log }, signal);
  // As long as they were there, flows over UDP to endpoints of their time could begin anew: they are looked at after a sync.
  if (found.length > 0 && !isOver(signal)) deps.recompile();
}

/** Rules that were saved in another mode and are restored now (netfilter-persistent at a boot): they translate by what was wanted then. */
async function untilRestored(
  { family, families, tools, config, events }: FamilyDeps,
  { name }: DataplaneDriver,
  signal: AbortSignal,
): Promise<void> {
  const parts = partsBeside({ mode: name, family }, families).filter(({ mode }) => mode !== "nftables"); // which only a process could see
  while (!isOver(signal)) {
    await pause(LOOK_FOR_RESTORED_MS, signal);
    for (const part of parts) {
      if (isOver(signal) || !(await hasTraces(part, { tools, stateDir: config.stateDir }, signal))) continue;
      const message = `somebody brought back rules that this host had in ${part.mode} mode, and they are taken away`;
      events.tell({ reason: "RulesRepaired", about: family, message });
      return;
    }
  }
}

function subject(family: string): string {
  return `${family} data plane`;
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
