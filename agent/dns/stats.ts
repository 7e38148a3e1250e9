import type { DnsStats } from "./responder.ts";

export const NO_STATS: DnsStats = {
  revision: 0,
  names: 0,
  queries: 0,
  local: 0,
  forwarded: 0,
  forwardFailed: 0,
  refused: 0,
  dropped: {},
};

/** Of two members, or of one that has ended and its successor. */
export function addStats(a: DnsStats, b: DnsStats): DnsStats {
  return {
    revision: Math.max(a.revision, b.revision),
    names: Math.max(a.names, b.names),
    queries: a.queries + b.queries,
    local: a.local + b.local,
    forwarded: a.forwarded + b.forwarded,
    forwardFailed: a.forwardFailed + b.forwardFailed,
    refused: a.refused + b.refused,
    dropped: sumOf(a.dropped, b.dropped),
  };
}

function sumOf(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): Record<string, number> {
  const sum: Record<string, number> = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}
