import { describeError, isAppError } from "#proto/error.ts";
import type { DataplaneLog } from "./log.ts";
import type { Requirement, TunableSysctls } from "./sysctl.ts";

/**
 * How many connections the kernel tracks, and for how long. The host is somebody else's: numbers are only raised, and only what of it is too small; a
 * setting that cannot be made (a container, another network namespace) is told and stops nothing. `cleanup` puts back what was raised.
 */

export interface ConntrackSettings {
  /** Tracked connections for each processor; 0 = the size of the table is left alone, whatever `min` says. */
  readonly maxPerCore: number;
  /** And so many at least. */
  readonly min: number;
  /** 0 = left alone; so below. */
  readonly establishedSeconds: number;
  readonly closeWaitSeconds: number;
  /** TCP out of its window is let through. */
  readonly isLiberal: boolean;
}

/** kube-proxy's. */
export const DEFAULT_CONNTRACK: ConntrackSettings = {
  maxPerCore: 32_768,
  min: 131_072,
  establishedSeconds: 86_400,
  closeWaitSeconds: 3_600,
  isLiberal: false,
};

export const LIBERAL = "net.netfilter.nf_conntrack_tcp_be_liberal";

/** The kernel makes whole pages of buckets: what it is told must be what it says, or cleanup would take it for somebody else's. */
const BUCKETS_OF_A_PAGE = 8_192; // of 64 KiB, the largest there is

/** What is wanted, in the order in which it is to be made: a table of more buckets before it may hold more. Pure. */
export function conntrackRequirements(settings: ConntrackSettings, cores: number): readonly Requirement[] {
  const { maxPerCore, min, establishedSeconds, closeWaitSeconds, isLiberal } = settings;
  const max = maxPerCore === 0 ? 0 : Math.max(min, maxPerCore * cores);
  const buckets = Math.ceil(max / 4 / BUCKETS_OF_A_PAGE) * BUCKETS_OF_A_PAGE;
  const seconds = (state: string, value: number, why: string): Requirement[] =>
    least(`net.netfilter.nf_conntrack_tcp_timeout_${state}`, value, why);
  return [
    ...least("net.netfilter.nf_conntrack_buckets", buckets, "each bucket shall hold four tracked connections at most"),
    ...least("net.netfilter.nf_conntrack_max", max, "connections that find no room in the kernel's table are lost"),
    ...seconds("established", establishedSeconds, "connections that are idle for longer than that lose their endpoint"),
    ...seconds("close_wait", closeWaitSeconds, "connections of which one end is closed lose their endpoint after that time"),
    ...(isLiberal ? [{ name: LIBERAL, value: "1", why: "TCP out of its window shall be let through", mayLack: true }] : []),
  ];
}

function least(name: string, value: number, why: string): Requirement[] {
  return value === 0 ? [] : [{ name, value: String(value), why, mayLack: true, isLeast: true }];
}

export interface TuneDeps {
  readonly sysctls: Pick<TunableSysctls, "tune">;
  readonly log: Pick<DataplaneLog, "info" | "warn">;
  readonly cores: number;
}

/** Once the kernel tracks connections: before, most have no such settings. What was set, in words. */
export async function tuneConntrack({ sysctls, log, cores }: TuneDeps, settings: ConntrackSettings): Promise<readonly string[]> {
  const changed: string[] = [];
  const refused: unknown[] = [];
  for (const wanted of conntrackRequirements(settings, cores))
    await sysctls.tune(wanted).then(
      (what) => changed.push(...(what === undefined ? [] : [what])),
      (cause: unknown) => refused.push(cause),
    );
  if (changed.length > 0) log.info({ changed }, "set sysctls");
  for (const cause of refused) log.warn({ hint: isAppError(cause) ? cause.hint : undefined }, describeError(cause));
  return changed;
}
