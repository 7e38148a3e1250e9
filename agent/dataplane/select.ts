import { AppError } from "#proto/error.ts";
import { openFlowCleaner } from "./conntrack.ts";
import type { DataplaneDriver } from "./driver.ts";
import { openKernelTools, type KernelTools } from "./exec.ts";
import type { IptablesKind } from "./iptables/apply.ts";
import { createIptablesDriver } from "./iptables/driver.ts";
import type { DataplaneLog } from "./log.ts";
import { openSysctls } from "./sysctl.ts";

/** What `--dataplane` may say. */
export const DATAPLANES = ["auto", "iptables", "iptables-nft", "iptables-legacy"] as const;

export interface DataplaneChoice {
  /** `iptables` and `auto` take the kind that the host's other rules are in. */
  readonly dataplane: string;
  readonly stateDir: string;
  readonly log: DataplaneLog;
  readonly tools?: KernelTools;
  /** What goes worse than it might; `undefined` = nothing any more. */
  readonly onProblem?: (problem: string | undefined) => void;
}

/** The driver that the configuration names, after it has looked whether it can work here. */
export async function selectDriver(choice: DataplaneChoice, signal: AbortSignal): Promise<DataplaneDriver> {
  const driver = openDriver(choice);
  const probed = await driver.probe(signal);
  if (!probed.usable)
    throw new AppError("KernelRejected", `the data plane ${driver.name} cannot be used here: ${probed.why}`, { hint: probed.hint });
  choice.log.info({ dataplane: driver.name, detail: probed.detail }, "data plane chosen");
  return driver;
}

/** Without a look at the host: for cleanup, which must also work where the rest does not. */
export function openDriver({ dataplane, stateDir, log, tools = openKernelTools(), onProblem }: DataplaneChoice): DataplaneDriver {
  const kinds: Record<string, IptablesKind | undefined> = {
    auto: undefined,
    iptables: undefined,
    "iptables-nft": "nft",
    "iptables-legacy": "legacy",
  };
  if (!Object.hasOwn(kinds, dataplane))
    throw new AppError("Usage", `there is no data plane ${JSON.stringify(dataplane)}`, { hint: `use one of ${DATAPLANES.join(", ")}` });
  return createIptablesDriver({
    tools,
    log,
    flows: openFlowCleaner({ tools, log, onProblem }),
    sysctls: openSysctls({ stateDir }),
    kind: kinds[dataplane],
  });
}
