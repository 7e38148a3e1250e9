import type { KernelTools } from "../exec.ts";

/**
 * A connection without a packet for 900 s is forgotten by IPVS: its next packet is answered with a reset. That is less than what programs expect who
 * keep connections open, so it is more here: what Linux's own keep-alive takes to send its first probe (7,200 s), and some. It is also how long an
 * endpoint that is gone can keep a connection that nobody ends. One setting for all of the host's virtual servers, so a value that somebody chose
 * stays.
 */
export const KERNEL_SECONDS = 900;
export const IDLE_SECONDS = 8_100;

/** The kernel's own value becomes ours, or ours the kernel's. What was done, in words. */
export async function setIdleTimeout(
  tools: KernelTools,
  { from, to }: { readonly from: number; readonly to: number },
  signal: AbortSignal,
): Promise<readonly string[]> {
  if ((await idleTimeout(tools, signal)) !== from) return [];
  await tools.run("ipvsadm", ["--set", String(to), "0", "0"], { signal });
  return [`idle TCP connections of virtual servers are forgotten after ${to} s (was ${from})`];
}

export async function idleTimeout(tools: KernelTools, signal: AbortSignal): Promise<number | undefined> {
  const { stdout } = await tools.run("ipvsadm", ["-L", "-n", "--timeout"], { signal });
  const seconds = /^Timeout \(tcp tcpfin udp\): (\d+) /m.exec(stdout)?.[1];
  return seconds === undefined ? undefined : Number(seconds);
}
