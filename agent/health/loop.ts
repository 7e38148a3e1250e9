import type { ObjectKey } from "#proto/meta.ts";
import type { Check, Workload } from "#proto/workload.ts";
import { createWake } from "#agent/sync/wake.ts";
import { createLimiter } from "./limiter.ts";
import { createWorkloadHealth, type Report, type WorkloadHealth, type WorkloadHealthDeps } from "./workload-health.ts";

export interface HealthDeps {
  /** This node's workloads, as last heard. */
  readonly workloads: ReadonlyMap<ObjectKey, Workload>;
  /** Checks that stand in files of this host; only these may be exec checks. */
  readonly localChecks: (key: ObjectKey) => readonly Check[];
  /** For workloads without an address of their own. */
  readonly nodeAddress: () => string | undefined;
  readonly report: Report;
  readonly log: WorkloadHealthDeps["log"];
}

export interface Health {
  /** These workloads, or their files, have changed. */
  touched(keys: Iterable<ObjectKey>): void;
  run(signal: AbortSignal): Promise<void>;
}

interface Running {
  readonly plan: string;
  readonly health: WorkloadHealth;
  readonly stop: () => Promise<void>;
}

const MAX_PROBES = 64;

/** Starts and stops the checks with the workloads that they belong to. */
export function createHealth({ workloads, localChecks, nodeAddress, report, log }: HealthDeps): Health {
  const due = new Set<ObjectKey>();
  const wake = createWake();
  const running = new Map<ObjectKey, Running>();
  const limited = createLimiter(MAX_PROBES);

  async function follow(key: ObjectKey, signal: AbortSignal): Promise<void> {
    const workload = workloads.get(key);
    const address = workload?.spec.address ?? nodeAddress();
    const checks = workload ? [...workload.spec.checks.filter(({ exec }) => exec === undefined), ...localChecks(key)] : [];
    const current = running.get(key);
    if (!workload || address === undefined || checks.length === 0) {
      running.delete(key);
      await current?.stop();
      return;
    }
    const target = { address, ports: workload.spec.ports };
    const plan = JSON.stringify([workload.metadata.uid, target, checks]);
    if (current?.plan === plan) {
      current.health.heardStatus(workload.status);
      return;
    }
    await current?.stop();
    const health = createWorkloadHealth(workload, { target, checks }, { report, limited, log });
    const ending = new AbortController();
    const ended = health.run(AbortSignal.any([signal, ending.signal]));
    running.set(key, {
      plan,
      health,
      stop: () => {
        ending.abort();
        return ended;
      },
    });
  }

  return {
    touched(keys) {
      for (const key of keys) due.add(key);
      wake.ring();
    },
    async run(signal) {
      try {
        for (const key of workloads.keys()) due.add(key);
        while (!signal.aborted) {
          for (const key of due) {
            due.delete(key);
            await follow(key, signal);
          }
          await wake.wait(signal);
        }
      } finally {
        await Promise.all(Array.from(running.values(), ({ stop }) => stop()));
        running.clear();
      }
    },
  };
}
