import { networkInterfaces } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { z } from "zod";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { describeError } from "#proto/error.ts";
import { formatIp, parseIp } from "#proto/ip.ts";

/** Marks our IPv4 addresses in the kernel itself, so that they can be found and removed by an agent that knows nothing else of the host. */
export const ADDRESS_LABEL = "lo:fairlead";
const DEVICE = "lo";
const CHECK_MS = 1000;

export interface DnsAddressDeps {
  readonly tools: KernelTools;
  /** The DNS service's virtual IPs. */
  readonly addresses: readonly string[];
  readonly log: Pick<Logger, "info" | "warn">;
}

/**
 * Keeps the DNS service's virtual IPs on this host, until the signal; they stay when it ends, as the data plane does, and go at cleanup. On lo: a device of
 * its own would need a kernel with `dummy`, and network managers look after devices that appear. Scope host: no packet to elsewhere gets it as source.
 */
export async function keepDnsAddresses({ tools, addresses, log }: DnsAddressDeps, signal: AbortSignal): Promise<void> {
  const told = new Map<string, string>();
  const stopped = (): boolean => signal.aborted;
  while (!stopped()) {
    for (const address of missingHere(addresses)) {
      try {
        await tools.run("ip", addArguments(address), { signal, timeoutMs: 5000 });
        log.info({ address }, "added the DNS service's address to this host");
        told.delete(address);
      } catch (error) {
        if (stopped()) return;
        const problem = describeError(error);
        if (told.get(address) !== problem) log.warn({ address, problem }, "cannot add the DNS service's address to this host");
        told.set(address, problem);
      }
    }
    await sleep(CHECK_MS, undefined, { signal }).catch(() => undefined);
  }
}

const Listing = z.array(
  z.looseObject({ addr_info: z.array(z.looseObject({ local: z.string().optional(), label: z.string().optional() })) }),
);

/** Takes away what we added: every IPv4 address with our label, and of `addresses` the IPv6 ones, which have none. Returns what went. */
export async function removeDnsAddresses(
  tools: KernelTools,
  addresses: readonly string[],
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const options = { timeoutMs: 5000, ...(signal && { signal }) };
  const { stdout } = await tools.run("ip", ["-json", "address", "show", "dev", DEVICE], options);
  const present = Listing.parse(JSON.parse(stdout)).flatMap(({ addr_info }) => addr_info);
  const unlabelled = new Set(addresses.filter((address) => familyFlag(address) === "-6").map(canonicalAddress));
  const removed: string[] = [];
  for (const { local, label } of present) {
    if (local === undefined || (label !== ADDRESS_LABEL && !unlabelled.has(canonicalAddress(local)))) continue;
    await tools.run("ip", [familyFlag(local), "address", "delete", prefixed(local), "dev", DEVICE], options);
    removed.push(local);
  }
  return removed;
}

function addArguments(address: string): string[] {
  const to = ["address", "add", prefixed(address), "dev", DEVICE];
  return familyFlag(address) === "-6" ? ["-6", ...to, "nodad"] : ["-4", ...to, "scope", "host", "label", ADDRESS_LABEL];
}

/** Asks the kernel without starting a program, so that it can be done every second. */
function missingHere(addresses: readonly string[]): readonly string[] {
  const here = new Set(
    Object.entries(networkInterfaces())
      .filter(([name]) => name === DEVICE || name.startsWith(`${DEVICE}:`)) // the link of systemd-resolved has the address, too, and may go at any time
      .flatMap(([, found]) => (found ?? []).map(({ address }) => canonicalAddress(address))),
  );
  return addresses.filter((address) => !here.has(canonicalAddress(address)));
}

function familyFlag(address: string): "-4" | "-6" {
  return parseIp(address)?.family === "IPv6" ? "-6" : "-4";
}

function prefixed(address: string): string {
  return `${address}/${familyFlag(address) === "-6" ? 128 : 32}`;
}

function canonicalAddress(address: string): string {
  const ip = parseIp(address);
  return ip ? formatIp(ip) : address;
}
