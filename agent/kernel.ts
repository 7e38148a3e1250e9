import { parseCidr, type IpFamily } from "#proto/ip.ts";
import type { AgentConfig } from "./agent-config.ts";
import type { HostTools } from "./dataplane/exec.ts";
import { createFamilyRecord, type FamilyRecord } from "./dataplane/family-record.ts";
import { createTableMailbox, onlyOf, putInAll, type TableSink } from "./dataplane/mailbox.ts";
import { cpus } from "node:os";
import { LIBERAL, tuneConntrack } from "./dataplane/conntrack-settings.ts";
import { openSysctls } from "./dataplane/sysctl.ts";
import { programFamily } from "./kernel-family.ts";
import type { NodeEvents } from "./node-events.ts";
import type { AgentMetrics } from "./probes/metrics.ts";
import type { AppliedTracker } from "./sync/applied.ts";
import { runAll } from "./sync/scope.ts";
import type { Trouble } from "./trouble.ts";

/** The kernel's part of the agent: a data plane for each family of addresses that the fleet has. One that fails does not stop the other. */

export interface KernelDeps {
  readonly config: Pick<AgentConfig, "dataplane" | "stateDir" | "membership" | "conntrack" | "log">;
  readonly families: readonly IpFamily[];
  readonly tools: HostTools;
  readonly applied: AppliedTracker;
  readonly trouble: Trouble;
  readonly events: NodeEvents;
  readonly metrics: AgentMetrics;
  /** Puts the whole table in once more. */
  readonly recompile: () => void;
}

export interface Kernel extends TableSink {
  run(signal: AbortSignal): Promise<void>;
  readonly records: readonly FamilyRecord[];
}

/** Of the fleet's ranges of virtual IPs. */
export function familiesOf(serviceCidrs: readonly string[]): readonly IpFamily[] {
  const there = new Set(serviceCidrs.map((text) => parseCidr(text)?.family));
  return (["IPv4", "IPv6"] as const).filter((family) => there.has(family));
}

export function createKernel(deps: KernelDeps): Kernel {
  const { config, families } = deps;
  const sysctls = openSysctls({ stateDir: config.stateDir });
  let tuned: Promise<void> | undefined;
  const tune = async (): Promise<void> => {
    const changed = await tuneConntrack({ sysctls, log: config.log, cores: cpus().length }, config.conntrack);
    if (changed.some((what) => what.startsWith(LIBERAL))) deps.recompile(); // rules go by it
  };
  const planes = families.map((family) => ({ family, mailbox: createTableMailbox(), record: createFamilyRecord(family) }));
  const records = planes.map(({ record }) => record);
  const sink = putInAll(planes.map(({ family, mailbox }) => onlyOf(family, mailbox)));
  return {
    put: (update) => sink.put(update),
    records,
    run: (signal) =>
      runAll(
        signal,
        Object.fromEntries(
          planes.map((plane) => [
            plane.family,
            (end: AbortSignal): Promise<void> =>
              programFamily({ ...deps, ...plane, sysctls, records, tuneOnce: () => (tuned ??= tune()) }, end),
          ]),
        ),
      ),
  };
}
