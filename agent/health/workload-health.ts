import type { Logger } from "pino";
import { backoffMs, pause } from "#proto/backoff.ts";
import { describeError, isAppError } from "#proto/error.ts";
import { durationMs, keyOf, type ObjectKey } from "#proto/meta.ts";
import type { Check, Workload, WorkloadStatus } from "#proto/workload.ts";
import { createWake } from "#agent/sync/wake.ts";
import { runAll } from "#agent/sync/scope.ts";
import { failed, runCheck, type CheckTarget, type Result } from "./check.ts";
import { judge, type Verdict } from "./threshold.ts";

export type ReadyStatus = WorkloadStatus & { readonly ready: boolean };
/** Writes the status to the server; rejects when that could not be done. */
export type Report = (key: ObjectKey, status: ReadyStatus, signal: AbortSignal) => Promise<void>;

export interface WorkloadHealthDeps {
  readonly report: Report;
  /** Bounds how many probes run at a time on this host. */
  readonly limited: <T>(task: () => Promise<T>) => Promise<T>;
  readonly log: Pick<Logger, "info" | "warn">;
}

export interface WorkloadHealth {
  /** The server holds another status than ours, for example an older one: it is told again. */
  heardStatus(status: WorkloadStatus): void;
  run(signal: AbortSignal): Promise<void>;
}

/** The checks of one workload: each on its own schedule; it is ready while all of them say so. Only transitions are reported. */
export function createWorkloadHealth(
  workload: Workload,
  { target, checks }: { readonly target: CheckTarget; readonly checks: readonly Check[] },
  { report, limited, log }: WorkloadHealthDeps,
): WorkloadHealth {
  const key = keyOf(workload);
  const wake = createWake();
  // What was decided before this agent started holds until a check says otherwise.
  const verdicts = checks.map((): Verdict => ({ ready: workload.status.ready ?? false, against: 0 }));
  let decided = workload.status.ready;
  let due: ReadyStatus | undefined;
  let latest: ReadyStatus | undefined;

  function took(index: number, check: Check, result: Result): void {
    const before = verdicts[index] ?? { ready: false, against: 0 };
    verdicts[index] = judge(before, result.passed, check);
    const ready = verdicts.every((verdict) => verdict.ready);
    if (ready === decided) return;
    decided = ready;
    const why = reasonOf(ready, result);
    latest = { ready, since: new Date().toISOString(), ...why };
    due = latest;
    log.info({ workload: key, ready, ...why }, ready ? "the workload is ready" : "the workload is not ready");
    wake.ring();
  }

  async function checkLoop(index: number, check: Check, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const result = await limited(() => runCheck(check, target, signal)).catch((error: unknown) =>
        failed("CheckFailed", describeError(error)),
      );
      if (stopped(signal)) return;
      took(index, check, result);
      await pause(durationMs(check.interval) * (0.95 + 0.1 * Math.random()), signal);
    }
  }

  async function reportLoop(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      if (due === undefined) await wake.wait(signal);
      const status = due;
      if (status === undefined) continue;
      try {
        await report(key, status, signal);
        failures = 0;
        if (due === status) due = undefined;
      } catch (error) {
        if (stopped(signal)) return;
        if (isAppError(error, "NotFound"))
          due = undefined; // gone; the server will say so here too
        else if (failures++ === 0)
          log.warn({ workload: key, error: describeError(error) }, "cannot tell the server of the workload's health; trying on");
        await pause(backoffMs(Math.max(failures, 1), Math.random()), signal);
      }
    }
  }

  return {
    heardStatus(status) {
      if (latest === undefined || due !== undefined || status.ready === latest.ready) return;
      due = latest;
      wake.ring();
    },
    run: (signal) =>
      runAll(signal, {
        report: reportLoop,
        ...Object.fromEntries(checks.map((check, i) => [`check ${i}`, (end: AbortSignal) => checkLoop(i, check, end)])),
      }),
  };
}

function reasonOf(ready: boolean, result: Result): { readonly reason: string; readonly message: string } {
  if (ready) return { reason: "ChecksPassed", message: "" };
  if (result.passed) return { reason: "ChecksPending", message: "not all checks have passed yet" };
  return { reason: result.reason, message: result.message };
}

function stopped(signal: AbortSignal): boolean {
  return signal.aborted;
}
