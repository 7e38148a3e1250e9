import { rm, stat } from "node:fs/promises";
import type { Logger } from "pino";
import { z } from "zod";
import { AppError } from "#proto/error.ts";
import { parseIp } from "#proto/ip.ts";
import { DEFAULT_STATE_DIR, membershipFile, readMembership } from "./config.ts";
import { openKernelTools, type KernelTools } from "./dataplane/exec.ts";
import { openDriver } from "./dataplane/select.ts";
import { ADDRESS_LABEL, removeDnsAddresses } from "./dns/address.ts";
import { isResolverConfigured, unconfigureResolver } from "./dns/resolver-config.ts";
import { takeLock } from "./lock.ts";

export interface CleanupOptions {
  readonly stateDir: string | undefined;
  readonly credentialsFile: string;
  readonly dryRun: boolean;
  /** The credential too: the host must join again. */
  readonly purge: boolean;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
}

/** Takes everything of ours off this host, looks whether something is left, and says what went. Works without the server, and where nothing is. */
export async function cleanUp(
  { stateDir: wanted, credentialsFile, dryRun, purge, log }: CleanupOptions,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const joined = await readMembership(credentialsFile).catch(() => undefined);
  const stateDir = wanted ?? joined?.membership.stateDir ?? DEFAULT_STATE_DIR;
  const dnsIps = joined?.membership.cluster.dnsIps ?? [];
  const tools = openKernelTools();
  const driver = openDriver({ dataplane: "auto", stateDir, log, tools });
  const find = async (): Promise<string[]> => [
    ...(await driver.cleanup({ dryRun: true }, signal)),
    ...(await dnsAddressesOn(tools, dnsIps)).map((address) => `address ${address} on lo`),
    ...((await isResolverConfigured()) ? ["drop-in of systemd-resolved"] : []),
  ];
  const files = [stateDir, ...(purge ? [credentialsFile, membershipFile(credentialsFile)] : [])];
  const filesThere = async (): Promise<string[]> => (await Promise.all(files.map(isThere))).filter((file) => file !== undefined);
  if (dryRun) return [...(await find()), ...(await filesThere())];

  const removed: string[] = [];
  if (await isThere(stateDir)) {
    await using _ = await takeLock(stateDir); // an agent that runs would put it all back
    removed.push(...(await driver.cleanup({ dryRun: false }, signal)));
  } else removed.push(...(await driver.cleanup({ dryRun: false }, signal)));
  removed.push(...(await removeDnsAddresses(tools, dnsIps, signal)).map((address) => `address ${address} on lo`));
  if ((await unconfigureResolver({ tools })) === "changed") removed.push("drop-in of systemd-resolved");
  for (const file of await filesThere()) {
    await rm(file, { recursive: true, force: true });
    removed.push(file);
  }
  const left = [...(await find()), ...(await filesThere())];
  if (left.length > 0)
    throw new AppError("KernelRejected", `something is left: ${left.join(", ")}`, {
      hint: "is another agent running? stop it and run this again",
    });
  return removed;
}

const Listing = z.array(
  z.looseObject({ addr_info: z.array(z.looseObject({ local: z.string().optional(), label: z.string().optional() })).default([]) }),
);

async function dnsAddressesOn(tools: KernelTools, dnsIps: readonly string[]): Promise<string[]> {
  const { stdout } = await tools.run("ip", ["-json", "address", "show", "dev", "lo"]);
  const v6 = new Set(dnsIps.filter((address) => parseIp(address)?.family === "IPv6"));
  return Listing.parse(JSON.parse(stdout)).flatMap(({ addr_info }) =>
    addr_info.flatMap(({ local = "", label }) => (label === ADDRESS_LABEL || v6.has(local) ? [local] : [])),
  );
}

async function isThere(file: string): Promise<string | undefined> {
  return stat(file).then(
    () => file,
    () => undefined,
  );
}
