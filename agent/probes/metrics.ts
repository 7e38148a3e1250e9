import type { IpFamily } from "#proto/ip.ts";
import { Counter, Gauge, Histogram, Registry } from "./prometheus.ts";

/** What the agent says of itself on /metrics. */
export interface AgentMetrics {
  readonly registry: Registry;
  wrote(family: IpFamily, seconds: number): void;
  failed(family: IpFamily): void;
  repaired(family: IpFamily): void;
}

export interface Measured {
  readonly families: readonly IpFamily[];
  /** What this host last heard, and what its kernel holds. */
  readonly wanted: () => number;
  readonly applied: () => number | undefined;
  readonly waitingMs: (family: IpFamily) => number;
}

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export function createAgentMetrics({ families, wanted, applied, waitingMs }: Measured): AgentMetrics {
  const registry = new Registry();
  const registers = [registry];
  const labelNames = ["family"];
  const writes = new Histogram({
    name: "fairlead_agent_write_seconds",
    help: "From a change to the end of its write into the kernel",
    labelNames,
    buckets: SECONDS,
    registers,
  });
  const failures = new Counter({
    name: "fairlead_agent_write_failures_total",
    help: "Writes that the kernel refused",
    labelNames,
    registers,
  });
  const repairs = new Counter({
    name: "fairlead_agent_repairs_total",
    help: "Times that rules of ours were put back which somebody else had removed or changed",
    labelNames,
    registers,
  });
  new Gauge({
    name: "fairlead_agent_wanted_revision",
    help: "The revision of the fleet's state that this host knows",
    registers,
    collect() {
      this.set(wanted());
    },
  });
  new Gauge({
    name: "fairlead_agent_applied_revision",
    help: "The revision that this host's kernel holds; 0 = none yet",
    registers,
    collect() {
      this.set(applied() ?? 0);
    },
  });
  new Gauge({
    name: "fairlead_agent_waiting_seconds",
    help: "How long the oldest change waits that the kernel does not hold",
    labelNames,
    registers,
    collect() {
      for (const family of families) this.set({ family }, waitingMs(family) / 1000);
    },
  });
  for (const family of families) {
    failures.inc({ family }, 0);
    repairs.inc({ family }, 0);
  }
  return {
    registry,
    wrote: (family, seconds) => writes.observe({ family }, seconds),
    failed: (family) => failures.inc({ family }),
    repaired: (family) => repairs.inc({ family }),
  };
}
