import { backoffMs, pause } from "#proto/backoff.ts";
import { AppError, describeError } from "#proto/error.ts";
import type { AgentConfig } from "./agent-config.ts";
import type { KernelTools } from "./dataplane/exec.ts";
import type { DnsMembers } from "./dns/members.ts";
import { detectResolver } from "./host-resolver/facts.ts";
import { installResolver } from "./host-resolver/install.ts";
import { keepResolver } from "./host-resolver/keep.ts";
import { lookAtResolver } from "./host-resolver/look.ts";
import { openRecords } from "./host-resolver/record.ts";
import { settingsOf } from "./host-resolver/settings.ts";
import type { Trouble } from "./trouble.ts";

export interface ResolverParts {
  readonly config: AgentConfig;
  readonly tools: KernelTools;
  readonly trouble: Trouble;
  readonly dns: Pick<DnsMembers, "stats" | "health">;
}

/** The host's own resolver: keeps what `fairlead dns install` has agreed with it. --configure-resolver is that command at each start. */
export async function runResolver({ config, tools, trouble, dns }: ResolverParts, signal: AbortSignal): Promise<void> {
  const { log, membership, configureResolver } = config;
  const records = openRecords();
  const settings = settingsOf(membership.cluster);
  // Bound is not enough: a responder that hangs holds its sockets.
  const isAnswering = (asked: string): boolean =>
    dns.health().fault === undefined && dns.stats().bound.some(({ address }) => address === asked);
  const keep = keepResolver({ tools, records, settings, isAnswering, log, onTrouble: (why) => trouble.set("resolver", why) }, signal);
  if (configureResolver) await installAtStart({ config, tools, trouble, dns }, signal);
  else if ((await records.read()) === undefined) console.error(`To resolve *.${settings.domain} on this host: sudo fairlead dns install`);
  await keep;
}

async function installAtStart({ config, tools, trouble }: ResolverParts, signal: AbortSignal): Promise<void> {
  const settings = settingsOf(config.membership.cluster);
  const subject = "--configure-resolver";
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      const facts = await lookAtResolver({ tools });
      const { kind, summary } = detectResolver(facts);
      if (kind !== "resolved")
        throw new AppError("ServiceUnavailable", `it works only where systemd-resolved answers for the host: ${summary}`, {
          hint: "`fairlead dns install` says what can be done here",
        });
      await installResolver({ tools, records: openRecords() }, { kind, facts, settings, isAnswering: false }); // the keeper does it
      trouble.set(subject, undefined);
      return;
    } catch (error) {
      if (failures === 1) config.log.warn({ error: describeError(error) }, "the host's resolver is not set up");
      trouble.set(subject, error);
      await pause(backoffMs(failures, Math.random(), { baseMs: 5000, maxMs: 300_000 }), signal);
    }
  }
}
