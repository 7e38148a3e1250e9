import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { AppError } from "#proto/error.ts";
import { parseIp } from "#proto/ip.ts";
import { membershipFile, readMembership, stateDirOf, upstreamsFile } from "./config.ts";
import type { HostTools, KernelTools } from "./dataplane/exec.ts";
import { removeOurRoutes } from "./dataplane/route.ts";
import { EVERY_PART, removeLeftovers } from "./dataplane/leftovers.ts";
import { openRoutedGate } from "./dataplane/iptables/routed.ts";
import { openSysctls } from "./dataplane/sysctl.ts";
import { ADDRESS_LABEL, removeDnsAddresses } from "./dns/address.ts";
import { HOST_LOCAL_ADDRESS } from "./dns/places.ts";
import { readKnownUpstreams } from "./dns/known-upstreams.ts";
import { resolvConfFault } from "./host-resolver/fault.ts";
import { uninstallResolver } from "./host-resolver/install.ts";
import { openRecords } from "./host-resolver/record.ts";
import { lockNamespace, lockState } from "./lock.ts";
import { removePeerRoutes } from "./routed/edge.ts";
import { compileCacheThere, ownFilesIn, removeCompileCache, removeOwnFiles } from "./state-files.ts";

export interface CleanupOptions {
  readonly stateDir: string | undefined;
  readonly credentialsFile: string;
  readonly dryRun: boolean;
  /** The credential too: the host must join again. */
  readonly purge: boolean;
  readonly tools: HostTools;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
}

export interface Cleaned {
  /** What went, or would go. */
  readonly removed: readonly string[];
  /** What others have in the state folder, which therefore stays. */
  readonly kept: readonly string[];
  /** What only the user can put right. */
  readonly fault?: AppError | undefined;
}

/** Takes everything of ours off this host, looks whether something is left, and says what went. Works without the server, and where nothing is. */
export async function cleanUp(
  { stateDir: wanted, credentialsFile, dryRun, purge, tools, log }: CleanupOptions,
  signal: AbortSignal,
): Promise<Cleaned> {
  const joined = await readMembership(credentialsFile).catch(() => undefined);
  const stateDir = wanted ?? (await stateDirOf(credentialsFile));
  const dnsIps = joined?.membership.cluster.dnsIps ?? [];
  const sysctls = openSysctls({ stateDir });
  const all = { tools, log, stateDir, parts: EVERY_PART };
  const resolver = { tools, records: openRecords() };
  const find = async (): Promise<string[]> => [
    ...(await removeLeftovers({ ...all, dryRun: true }, signal)),
    ...(await removeOurRoutes(tools, { dryRun: true }, signal)),
    ...(await removeRouted({ tools, log, dryRun: true }, signal)),
    ...(await sysctls.restore({ dryRun: true })),
    ...(await dnsAddressesOn(tools, dnsIps)).map((address) => `address ${address} on lo`),
    ...(await uninstallResolver(resolver, { dryRun: true })),
  ];
  const purged = purge ? [credentialsFile, membershipFile(credentialsFile)] : [];
  const purgedThere = async (): Promise<string[]> => (await Promise.all(purged.map(isThere))).filter((file) => file !== undefined);
  const faultOf = async (): Promise<AppError | undefined> =>
    resolvConfFault({
      own: [HOST_LOCAL_ADDRESS, ...dnsIps, ...(await dnsAddressesOn(tools, dnsIps))],
      known: await readKnownUpstreams(upstreamsFile(stateDir)),
      isKnownHost: joined !== undefined,
    });
  const own = await ownFilesIn(stateDir);
  const kept = own.names.length === 0 ? [] : own.others.map((name) => join(stateDir, name));
  if (dryRun) {
    const cache = purge ? await compileCacheThere() : undefined;
    return {
      removed: [...(await find()), ...own.names, ...(await purgedThere()), ...(cache === undefined ? [] : [cache])],
      kept,
      fault: (await resolver.records.read())?.file === undefined ? await faultOf() : undefined, // what names us is ours, and would go
    };
  }

  // An agent that runs would put it all back.
  await using _namespace = await lockNamespace();
  await using _state = (await isThere(stateDir)) === undefined ? undefined : await lockState(stateDir);
  const resolverParts = await uninstallResolver(resolver);
  const fault = await faultOf(); // while it is still known which addresses are ours, and whom the host asked before
  const removed = [
    ...(await removeLeftovers({ ...all, dryRun: false }, signal)),
    ...(await removeOurRoutes(tools, { dryRun: false }, signal)),
    ...(await removeRouted({ tools, log, dryRun: false }, signal)),
    ...(await sysctls.restore({ dryRun: false })),
  ];
  removed.push(...(await removeDnsAddresses(tools, dnsIps, signal)).map((address) => `address ${address} on lo`));
  removed.push(...resolverParts, ...own.names, ...(await purgedThere()));
  await removeOwnFiles(await ownFilesIn(stateDir));
  for (const file of purged) await rm(file, { force: true });
  const cache = purge ? await removeCompileCache() : undefined;
  if (cache !== undefined) removed.push(cache);
  const left = [...(await find()), ...(await ownFilesIn(stateDir)).files, ...(await purgedThere())];
  if (left.length > 0)
    throw new AppError("KernelRejected", `something is left: ${left.join(", ")}`, {
      hint: "is another agent running? stop it and run this again",
    });
  return { removed, kept, fault };
}

/** Of --docker-routed, here and on other hosts. */
async function removeRouted(
  { tools, log, dryRun }: Pick<CleanupOptions, "tools" | "log" | "dryRun">,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const removed = [...(await removePeerRoutes(tools, { dryRun }, signal))];
  for (const family of ["IPv4", "IPv6"] as const)
    removed.push(...(await openRoutedGate({ tools, family, log }).cleanup({ dryRun }, signal)));
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
