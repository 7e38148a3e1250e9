import { addAnswers } from "./answer-counts.ts";
import { addForwarding, NO_FORWARDING, withoutState } from "./forward-stats.ts";
import type { DnsStats } from "./responder.ts";

export const NO_STATS: DnsStats = {
  revision: 0,
  names: 0,
  queries: 0,
  local: 0,
  forwarded: 0,
  refused: 0,
  answers: [],
  dropped: {},
  forwarding: NO_FORWARDING,
};

/** Of two members, or of one that has ended and its successor. */
export function addStats(a: DnsStats, b: DnsStats): DnsStats {
  return {
    revision: Math.max(a.revision, b.revision),
    names: Math.max(a.names, b.names),
    queries: a.queries + b.queries,
    local: a.local + b.local,
    forwarded: a.forwarded + b.forwarded,
    refused: a.refused + b.refused,
    answers: addAnswers(a.answers, b.answers),
    dropped: sumOf(a.dropped, b.dropped),
    forwarding: addForwarding(a.forwarding, b.forwarding),
  };
}

/** What is left of a member's when it has ended. */
export function endedStats(stats: DnsStats): DnsStats {
  return { ...stats, forwarding: withoutState(stats.forwarding) };
}

function sumOf(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): Record<string, number> {
  const sum: Record<string, number> = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}
