import { stat } from "node:fs/promises";
import { AppError } from "#proto/error.ts";
import type { IpFamily } from "#proto/ip.ts";
import { openFlowCleaner, type FlowRetry } from "./conntrack.ts";
import type { DataplaneDriver } from "./driver.ts";
import type { HostTools } from "./exec.ts";
import type { DataplaneLog } from "./log.ts";
import type { Sysctls } from "./sysctl.ts";

/** What `--dataplane` may say. */
export const DATAPLANES = ["iptables", "nftables", "ipvs", "auto", "iptables-nft", "iptables-legacy"] as const;
export const DEFAULT_DATAPLANE = "iptables";

/** The best first, by what a change and a connection cost (docs/adr/0124). */
export type Mode = DataplaneDriver["name"];
export const MODES: readonly Mode[] = ["nftables", "iptables", "ipvs"];

export interface DriverChoice {
  /** `iptables` takes the kind that the host's other rules are in. */
  readonly dataplane: string;
  readonly family: IpFamily;
  readonly tools: HostTools;
  readonly sysctls: Sysctls;
  readonly log: DataplaneLog;
  /** What goes worse than it might; `undefined` = nothing any more. */
  readonly onProblem?: ((problem: string | undefined) => void) | undefined;
  /** Where the kernel says what it has. */
  readonly procNet?: string;
}

export type Chosen =
  { readonly driver: DataplaneDriver; readonly why: string } | { readonly driver: undefined; readonly unusable: AppError };

/** The driver that the configuration names, or the best one that can work here, after a look at the host. */
export async function chooseDriver(choice: DriverChoice, signal: AbortSignal): Promise<Chosen> {
  const { dataplane, family, log } = choice;
  if (family === "IPv6" && !(await kernelHasIpv6(choice.procNet)))
    return refuse(family, "the kernel of this host has no IPv6", "enable IPv6, or leave this host to IPv4");
  const candidates = dataplane === "auto" ? MODES : [dataplane];
  const passedOver: string[] = [];
  let hint = "";
  for (const candidate of candidates) {
    const driver = await openDriver({ ...choice, dataplane: candidate });
    const probed = await driver.probe(signal).catch((error: unknown) => {
      driver.close();
      throw error;
    });
    if (probed.usable) {
      const why = [probed.detail, ...passedOver].join("; ");
      log.info({ family, dataplane: driver.name, asked: dataplane, why }, "data plane chosen");
      return { driver, why };
    }
    driver.close();
    passedOver.push(dataplane === "auto" ? `not ${candidate}: ${probed.why}` : probed.why);
    hint ||= probed.hint;
  }
  return refuse(family, `the data plane ${dataplane} cannot be used here: ${passedOver.join("; ")}`, hint);
}

/** Without a look at the host: for cleanup, which must also work where the rest does not. Only what is used is loaded. */
export async function openDriver(choice: DriverChoice): Promise<DataplaneDriver> {
  const { dataplane, family, tools, sysctls, log, onProblem } = choice;
  const flows = openFlowCleaner({ family, tools, log, onProblem });
  const deps = { family, tools, sysctls, log, flows };
  switch (dataplane) {
    case "nftables":
      return withRetry((await import("./nftables/driver.ts")).createNftablesDriver(deps), flows);
    case "ipvs":
      return withRetry((await import("./ipvs/driver.ts")).createIpvsDriver(deps), flows);
    case "iptables":
    case "iptables-nft":
    case "iptables-legacy":
      return withRetry((await import("./iptables/driver.ts")).createIptablesDriver({ ...deps, kind: KINDS[dataplane] }), flows);
    default:
      throw new AppError("Usage", `there is no data plane ${JSON.stringify(dataplane)}`, { hint: `use one of ${DATAPLANES.join(", ")}` });
  }
}

/** Flows that could not be forgotten are looked after with the rules; a change calls off either. */
export function withRetry(driver: DataplaneDriver, flows: FlowRetry): DataplaneDriver {
  return {
    ...driver,
    async verify(signal) {
      const drift = await driver.verify(signal);
      if (drift.intact) await flows.retry(signal);
      return drift;
    },
  };
}

const KINDS = { iptables: undefined, "iptables-nft": "nft", "iptables-legacy": "legacy" } as const;

function refuse(family: IpFamily, why: string, hint: string): Chosen {
  return { driver: undefined, unusable: new AppError("KernelRejected", `no ${family} here: ${why}`, { hint }) };
}

function kernelHasIpv6(procNet = "/proc/net"): Promise<boolean> {
  return stat(`${procNet}/if_inet6`).then(
    () => true,
    () => false,
  );
}
