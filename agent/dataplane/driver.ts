import type { IpFamily } from "#proto/ip.ts";
import type { ForwardingTable, ServiceChange } from "../compile/table.ts";
import type { FlowCleaner } from "./conntrack.ts";
import type { KernelTools, StandbyTools } from "./exec.ts";
import type { DataplaneLog } from "./log.ts";
import type { Sysctls } from "./sysctl.ts";

/** What each driver is made of: `createXDriver(deps: DriverDeps & { … })`. */
export interface DriverDeps {
  readonly family: IpFamily;
  readonly tools: KernelTools & Partial<StandbyTools>;
  readonly flows: FlowCleaner;
  /** Shared by all drivers of the agent. */
  readonly sysctls: Sysctls;
  readonly log: DataplaneLog;
}

/**
 * One way to program the kernel, for one family of addresses: a dual-stack host has two, and each goes on when the other fails. State goes in as data;
 * the work of `update` follows the change and never the size of the table.
 * All writes are atomic: on failure the old rules stay, the driver forgets what it held, and the loop calls `sync` next.
 */
export interface DataplaneDriver {
  readonly name: "iptables" | "ipvs" | "nftables";
  /** What it programs; frontends of the other family are not its concern. */
  readonly family: IpFamily;
  /** Only looks: can this driver work here? */
  probe(signal: AbortSignal): Promise<ProbeResult>;
  /** Makes the kernel hold exactly `table`, whatever of ours was there before. Connections go on. */
  sync(table: ForwardingTable, signal: AbortSignal): Promise<void>;
  /** From what the last sync and updates made to the next state. */
  update(changes: readonly ServiceChange[], signal: AbortSignal): Promise<void>;
  /** What of ours is missing or altered; cheap enough to be called often. */
  verify(signal: AbortSignal): Promise<Drift>;
  /** Ends what the driver keeps running for itself; the kernel stays as it is. */
  close(): void;
  /** Removes what we own and nothing else, from an earlier run too; says what it removed. Idempotent. */
  cleanup(options: { readonly dryRun: boolean }, signal: AbortSignal): Promise<readonly string[]>;
}

export type ProbeResult =
  { readonly usable: true; readonly detail: string } | { readonly usable: false; readonly why: string; readonly hint: string };

export type Drift = { readonly intact: true } | { readonly intact: false; readonly missing: readonly string[] };
