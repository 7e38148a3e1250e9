import type { Logger } from "pino";
import { backoffMs } from "#proto/backoff.ts";
import { describeError } from "#proto/error.ts";
import type { ObjectKey } from "#proto/meta.ts";
import type { Workload } from "#proto/workload.ts";
import type { Report } from "#agent/health/workload-health.ts";
import { createWake } from "#agent/sync/wake.ts";
import type { DockerHealth } from "./workload.ts";

interface Judged {
  readonly key: ObjectKey;
  readonly health: DockerHealth | undefined;
}

export interface VerdictsDeps {
  readonly wanted: () => readonly Judged[];
  /** This node's workloads, as last heard. */
  readonly own: ReadonlyMap<ObjectKey, Workload>;
  readonly report: Report;
  readonly log: Pick<Logger, "info" | "warn">;
}

/** Tells the server what HEALTHCHECK says, until it holds that. */
export function createVerdicts({ wanted, own, report, log }: VerdictsDeps): { touched(): void; run(signal: AbortSignal): Promise<void> } {
  const wake = createWake();

  async function tellAll(signal: AbortSignal): Promise<boolean> {
    let isTold = true;
    for (const { key, health } of wanted()) {
      const held = own.get(key);
      if (health === undefined || !held || held.metadata.deletionTimestamp !== undefined) continue;
      const ready = health === "healthy";
      if (held.status.ready === ready) continue;
      const status = { ready, since: new Date().toISOString(), reason: "DockerHealthcheck", message: `HEALTHCHECK says ${health}` };
      try {
        await report(key, status, signal);
        log.info({ workload: key, ready, health }, ready ? "the workload is ready" : "the workload is not ready");
      } catch (error) {
        if (signal.aborted) return false;
        isTold = false;
        log.warn({ workload: key, error: describeError(error) }, "cannot tell the server of a HEALTHCHECK");
      }
    }
    return isTold;
  }

  return {
    touched: () => wake.ring(),
    async run(signal) {
      for (let failures = 0; !signal.aborted;) {
        await wake.wait(failures === 0 ? signal : AbortSignal.any([signal, AbortSignal.timeout(backoffMs(failures, Math.random()))]));
        failures = (await tellAll(signal)) ? 0 : failures + 1;
      }
    },
  };
}
