import { describeError } from "#proto/error.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { HostTools } from "./exec.ts";
import type { DataplaneLog } from "./log.ts";
import { MODES, openDriver, type Mode } from "./select.ts";
import type { Sysctls } from "./sysctl.ts";

/** What data planes have left on a host: that of an agent that ran in another mode, of one that was killed, or all of it for cleanup. */

export interface Leftovers {
  readonly tools: HostTools;
  readonly log: DataplaneLog;
  readonly modes: readonly Mode[];
  readonly families: readonly IpFamily[];
  readonly dryRun: boolean;
}

/** They are shared by all modes: whoever takes away one mode only leaves them. */
const SYSCTLS_STAY: Sysctls = { ensure: async () => [], restore: async () => [] };

/** Takes away what is there of these modes and families, and says what. One that fails does not keep the others; then throws all that failed. */
export async function removeLeftovers({ tools, log, modes, families, dryRun }: Leftovers, signal: AbortSignal): Promise<readonly string[]> {
  const removed: string[] = [];
  const failures: unknown[] = [];
  for (const dataplane of modes)
    for (const family of families) {
      const driver = openDriver({ dataplane, family, tools, log, sysctls: SYSCTLS_STAY });
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

/** After one mode has taken over a family: the others of it, and all of a family that the fleet no longer has. */
export function othersThan(mode: Mode, family: IpFamily, wanted: readonly IpFamily[]): readonly Pick<Leftovers, "modes" | "families">[] {
  const gone = (["IPv4", "IPv6"] as const).filter((one) => !wanted.includes(one));
  return [
    { modes: MODES.filter((other) => other !== mode), families: [family] },
    { modes: MODES, families: gone },
  ];
}
