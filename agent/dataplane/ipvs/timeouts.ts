import type { IpFamily } from "#proto/ip.ts";
import type { KernelTools } from "../exec.ts";
import { oursOf, parseServers, parseSets } from "./listing.ts";
import { MARKS } from "./names.ts";
import { standingOfServers } from "./proc.ts";
import type { ServerKey } from "./servers.ts";

/**
 * A connection without a packet for 900 s is forgotten by IPVS: its next packet is answered with a reset. That is less than what programs expect who
 * keep connections open, so it is more here: what Linux's own keep-alive takes to send its first probe (7,200 s), and some. It is also how long an
 * endpoint that is gone can keep a connection that nobody ends. One setting for all of the host's virtual servers, so a value that somebody chose
 * stays, and any value where others (keepalived) have virtual servers.
 */
export const KERNEL_SECONDS = 900;
export const IDLE_SECONDS = 8_100;

/** Ours instead of the kernel's. What was done, in words, or why not. */
export async function raiseIdleTimeout(
  tools: KernelTools,
  { serviceCidrs, procNet }: { readonly serviceCidrs: readonly string[]; readonly procNet: string },
  signal: AbortSignal,
): Promise<{ readonly done: readonly string[]; readonly warning?: string }> {
  if ((await idleTimeout(tools, signal)) !== KERNEL_SECONDS) return { done: [] };
  const others = (await standingOfServers(procNet)) === "none" ? [] : await othersHere(tools, serviceCidrs, signal);
  if (others.length === 0) return { done: [await setTo(tools, { from: KERNEL_SECONDS, to: IDLE_SECONDS }, signal)] };
  const known = others.slice(0, 3).join(", ");
  return {
    done: [],
    warning: `virtual servers of others are on this host (${known}): idle TCP connections are forgotten after ${KERNEL_SECONDS} s, as before`,
  };
}

async function othersHere(tools: KernelTools, serviceCidrs: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
  const { stdout: servers } = await tools.run("ipvsadm", ["-Sn"], { signal });
  const { stdout: sets } = await tools.run("ipset", ["save"], { signal });
  return othersIn({ servers, sets }, serviceCidrs);
}

/** Of either family, in the words of `ipvsadm -Sn`. `sets` is what `ipset save` prints. */
export function othersIn(
  { servers, sets }: { readonly servers: string; readonly sets: string },
  serviceCidrs: readonly string[],
): readonly string[] {
  return FAMILIES.flatMap((family) => {
    const all = parseServers(servers, family);
    const ours = oursOf(all, { ranges: serviceCidrs, sets: parseSets(sets, family) });
    return [...all.keys()].filter((key) => !ours.has(key) && !isTrial(key)).map((key) => (typeof key === "number" ? `-f ${key}` : key));
  });
}

const FAMILIES: readonly IpFamily[] = ["IPv4", "IPv6"];

/** The driver of the other family may be asking for a scheduler. */
function isTrial(key: ServerKey): boolean {
  return key === MARKS.trial;
}

/** The kernel's own value becomes ours, or ours the kernel's. What was done, in words. */
export async function setIdleTimeout(
  tools: KernelTools,
  { from, to }: { readonly from: number; readonly to: number },
  signal: AbortSignal,
): Promise<readonly string[]> {
  return (await idleTimeout(tools, signal)) === from ? [await setTo(tools, { from, to }, signal)] : [];
}

async function setTo(
  tools: KernelTools,
  { from, to }: { readonly from: number; readonly to: number },
  signal: AbortSignal,
): Promise<string> {
  await tools.run("ipvsadm", ["--set", String(to), "0", "0"], { signal });
  return `idle TCP connections of virtual servers are forgotten after ${to} s (was ${from})`;
}

export async function idleTimeout(tools: KernelTools, signal: AbortSignal): Promise<number | undefined> {
  const { stdout } = await tools.run("ipvsadm", ["-L", "-n", "--timeout"], { signal });
  const seconds = /^Timeout \(tcp tcpfin udp\): (\d+) /m.exec(stdout)?.[1];
  return seconds === undefined ? undefined : Number(seconds);
}
