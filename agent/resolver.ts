import { backoffMs, pause } from "#proto/backoff.ts";
import { describeError } from "#proto/error.ts";
import type { AgentConfig } from "./agent-config.ts";
import type { KernelTools } from "./dataplane/exec.ts";
import { HOST_LOCAL_ADDRESS } from "./dns/address.ts";
import { configureResolver, describeResolver } from "./dns/resolver-config.ts";
import type { Trouble } from "./trouble.ts";

/** Makes systemd-resolved ask this agent where the operator wants it; otherwise says the one line that does. */
export async function setUpResolver(
  { configureResolver: wanted, membership, log }: AgentConfig,
  tools: KernelTools,
  trouble: Trouble,
  signal: AbortSignal,
): Promise<void> {
  const { domain, dnsIps } = membership.cluster;
  const host = { tools, address: HOST_LOCAL_ADDRESS, dnsIp: dnsIps[0] ?? HOST_LOCAL_ADDRESS, domain };
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      if (wanted) log.info({ resolver: await configureResolver(host) }, "systemd-resolved asks this agent for the names of the fleet");
      else {
        const { summary, line } = await describeResolver(host);
        log.info({ summary, line }, "one line makes this host use the names of the fleet");
        console.error(`To resolve *.${domain} on this host: ${line}`);
      }
      trouble.set("resolver", undefined);
      return;
    } catch (error) {
      if (failures === 1) log.warn({ error: describeError(error) }, "the host's resolver is not set up");
      trouble.set("resolver", error);
      await pause(backoffMs(failures, Math.random(), { baseMs: 5000, maxMs: 300_000 }), signal);
    }
  }
}
