import type { ClusterFacts } from "#proto/agents.ts";
import type { AgentConfig } from "./agent-config.ts";
import { writeMembership, type Joined } from "./config.ts";
import { joinedAnew } from "./rejoin.ts";

/** With what the agent starts anew: this host has joined again, or the fleet's own facts have changed. Whoever joined again at the same moment is not overwritten. */
export async function nextRunOf(
  { credentialsFile, connection, membership, log }: AgentConfig,
  cluster: ClusterFacts,
  rejoined: Joined | undefined,
): Promise<Joined> {
  const joined = rejoined ?? (await joinedAnew(credentialsFile, connection));
  if (joined) {
    log.info(
      { node: joined.membership.node, server: joined.connection.server },
      "this host has joined again: going on with its new credential",
    );
    return joined;
  }
  log.warn({ before: membership.cluster, now: cluster }, "the fleet's facts have changed: starting anew with them");
  const next = { connection, membership: { ...membership, cluster } };
  await writeMembership(credentialsFile, connection, next.membership);
  return next;
}

export function sameFacts(a: ClusterFacts | undefined, b: ClusterFacts): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
