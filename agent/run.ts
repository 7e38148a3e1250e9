import type { AgentConfig } from "./agent-config.ts";
import type { Joined } from "./config.ts";
import type { HostTools } from "./dataplane/exec.ts";
import { removeDnsAddresses } from "./dns/address.ts";
import { dnsLoopsOf, loopsOf } from "./loops.ts";
import { nextRunOf, sameFacts } from "./next-run.ts";
import { refuseOverlap } from "./node/facts.ts";
import { isSameNetwork } from "./node/network.ts";
import { openParts, type Parts } from "./parts.ts";
import { replay } from "./sync/replica-store.ts";
import { runAll } from "./sync/scope.ts";

/**
 * Runs the agent until the signal aborts, or until the fleet's own facts change (domain, ranges) or this host has joined again: then it must be run anew,
 * with what it returns.
 */
export async function runAgent(config: AgentConfig, tools: HostTools, outer: AbortSignal): Promise<Joined | undefined> {
  const facts = config.membership.cluster;
  await refuseOverlap({ tools, serviceCidrs: facts.serviceCidrs }, outer);
  const restart = new AbortController();
  const signal = AbortSignal.any([outer, restart.signal]);
  let rejoined: Joined | undefined;
  const startAnew = (joined?: Joined): void => {
    rejoined ??= joined;
    restart.abort();
  };
  const parts = await openParts(config, tools, signal);
  try {
    await runAll(signal, {
      // At once: its thread has names of its own on disk.
      ...dnsLoopsOf(parts),
      "the agent": async (end) => {
        // From what was heard last, before the network is asked for anything: a host that boots while the server is down serves at once.
        const savedAt = await serveWhatWasKnown(parts, end);
        await runAll(end, loopsOf({ parts, savedAt, startAnew }));
      },
    });
  } finally {
    await parts.transport.close();
  }
  if (outer.aborted) return undefined;
  const next = await nextRunOf(config, parts.replica.state.cluster ?? facts, rejoined);
  if (!sameFacts(next.membership.cluster, facts)) await removeDnsAddresses(tools, facts.dnsIps);
  return next;
}

async function serveWhatWasKnown(
  { config, store, replica, follower, network, routed }: Parts,
  signal: AbortSignal,
): Promise<Date | undefined> {
  const stored = await store.load();
  if (!stored) return undefined;
  const touched = await replica.replaceWith({ ...replay(stored), cluster: stored.header.cluster });
  routed.touched(touched);
  await routed.settle(signal);
  follower.follow(touched);
  // Now it is known which addresses Services have: some may be on this host at the moment.
  const found = await network.look(undefined, signal);
  if (!isSameNetwork(found, network.now)) {
    network.set(found);
    follower.recompile();
  }
  const { revision, services } = replica.state;
  config.log.info({ revision, services: services.size, savedAt: stored.savedAt }, "serving what was known");
  return stored.savedAt;
}
