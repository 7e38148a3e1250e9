import { readMembership } from "#agent/config.ts";
import { openKernelTools, type KernelTools } from "#agent/dataplane/exec.ts";
import { HOST_LOCAL_ADDRESS } from "#agent/dns/places.ts";
import { parseStubDomain, type StubDomain } from "#agent/dns/stub-domains.ts";
import { detectResolver, type Detection, type ResolverFacts } from "#agent/host-resolver/facts.ts";
import type { LinkSettings } from "#agent/host-resolver/link.ts";
import { lookAtResolver } from "#agent/host-resolver/look.ts";
import { openRecords, type Records, type ResolverRecord } from "#agent/host-resolver/record.ts";
import { settingsOf } from "#agent/host-resolver/settings.ts";
import { isAgentHere } from "#agent/lock.ts";

/** This host, as the commands find it. */
export interface ThisHost {
  readonly node: string;
  readonly stateDir: string;
  readonly settings: LinkSettings;
  /** Of its configuration file; an agent that runs may have been told of more. */
  readonly stubs: readonly StubDomain[];
  /** Where the responder answers. */
  readonly answersAt: readonly string[];
  readonly facts: ResolverFacts;
  readonly detection: Detection;
  readonly record: ResolverRecord | undefined;
  readonly isAgentRunning: boolean;
  readonly records: Records;
  readonly tools: KernelTools;
}

export async function lookAtThisHost(credentialsFile: string): Promise<ThisHost> {
  const { membership } = await readMembership(credentialsFile);
  const tools = openKernelTools();
  const records = openRecords();
  const [facts, record, isAgentRunning] = await Promise.all([lookAtResolver({ tools }), records.read(), isAgentHere()]);
  return {
    node: membership.node,
    stateDir: membership.stateDir,
    settings: settingsOf(membership.cluster),
    stubs: membership.dnsStubs.map(parseStubDomain),
    answersAt: [...membership.cluster.dnsIps, HOST_LOCAL_ADDRESS],
    facts,
    detection: detectResolver(facts),
    record,
    isAgentRunning,
    records,
    tools,
  };
}
