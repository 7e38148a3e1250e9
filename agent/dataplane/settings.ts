import { AppError, describeError } from "#proto/error.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { HostTable } from "#agent/compile/table.ts";
import type { KernelTools } from "./exec.ts";
import type { DataplaneLog } from "./log.ts";
import type { Requirement, Sysctls } from "./sysctl.ts";

/** How drivers deal with settings of the kernel: those that they need, and one that they go by. */

export interface SettingsDeps {
  readonly sysctls: Sysctls;
  readonly log: Pick<DataplaneLog, "info" | "warn">;
  readonly family: IpFamily;
  /** What the driver needs besides. */
  readonly more?: () => Promise<readonly Requirement[]>;
}

/** A setting that cannot be made (a container whose /proc/sys is read-only) stops only what needs it. */
export async function setSysctls({ sysctls, log, family, more }: SettingsDeps, host: HostTable, signal: AbortSignal): Promise<void> {
  try {
    const changed = await sysctls.ensure(host, { family, ...(more && { more: await more() }) });
    if (changed.length > 0) log.info({ changed }, "set sysctls");
  } catch (cause) {
    signal.throwIfAborted();
    log.warn({ hint: cause instanceof AppError ? cause.hint : undefined }, describeError(cause));
  }
}

/**
 * Is TCP out of its window let through (nf_conntrack_tcp_be_liberal)? Then the kernel calls none INVALID for its sequence number, and none is dropped.
 * Where connection tracking is not there yet, no.
 */
export async function isTcpLiberal(tools: Pick<KernelTools, "read">): Promise<boolean> {
  return (await tools.read("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")) === "1";
}
