/** How forwarding goes; plain data, so that it can be sent between threads. */
export interface ForwardStats {
  readonly inFlight: number;
  /** From the cache: fresh, and stale because no upstream answered. */
  readonly hits: number;
  readonly stale: number;
  /** Asked of an upstream. */
  readonly misses: number;
  /** Waited for somebody else's question. */
  readonly merged: number;
  /** SERVFAIL of our own: no upstream answered, or too many wait. */
  readonly failed: number;
  /** Names that are not asked of anybody outside. */
  readonly inside: number;
  readonly cacheEntries: number;
  readonly cacheOctets: number;
  /** How long replies of upstreams took: how many took up to each of LATENCY_SECONDS, and longer. */
  readonly latency: { readonly counts: readonly number[]; readonly sumSeconds: number };
  readonly upstreams: readonly UpstreamState[];
}

export interface UpstreamState {
  readonly address: string;
  readonly state: "up" | "down" | "looping";
}

export const LATENCY_SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const;

export class Latency {
  readonly #counts = Array.from({ length: LATENCY_SECONDS.length + 1 }, () => 0);
  #sumSeconds = 0;

  add(seconds: number): void {
    let bucket = 0;
    while (seconds > (LATENCY_SECONDS[bucket] ?? Infinity)) bucket++;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sumSeconds += seconds;
  }

  read(): ForwardStats["latency"] {
    return { counts: [...this.#counts], sumSeconds: this.#sumSeconds };
  }
}

export const NO_FORWARDING: ForwardStats = {
  inFlight: 0,
  hits: 0,
  stale: 0,
  misses: 0,
  merged: 0,
  failed: 0,
  inside: 0,
  cacheEntries: 0,
  cacheOctets: 0,
  latency: new Latency().read(),
  upstreams: [],
};

/** Of two members, or of one that has ended and its successor: of the upstreams, the worst that one of them knows. */
export function addForwarding(a: ForwardStats, b: ForwardStats): ForwardStats {
  return {
    inFlight: a.inFlight + b.inFlight,
    hits: a.hits + b.hits,
    stale: a.stale + b.stale,
    misses: a.misses + b.misses,
    merged: a.merged + b.merged,
    failed: a.failed + b.failed,
    inside: a.inside + b.inside,
    cacheEntries: a.cacheEntries + b.cacheEntries,
    cacheOctets: a.cacheOctets + b.cacheOctets,
    latency: {
      counts: a.latency.counts.map((count, i) => count + (b.latency.counts[i] ?? 0)),
      sumSeconds: a.latency.sumSeconds + b.latency.sumSeconds,
    },
    upstreams: worstOf([...a.upstreams, ...b.upstreams]),
  };
}

/** Counts stay when a member has ended; what it held, and knew of upstreams, is gone with it. */
export function withoutState(stats: ForwardStats): ForwardStats {
  return { ...stats, inFlight: 0, cacheEntries: 0, cacheOctets: 0, upstreams: [] };
}

const RANK = { up: 0, down: 1, looping: 2 } as const;

function worstOf(states: readonly UpstreamState[]): readonly UpstreamState[] {
  const byAddress = new Map<string, UpstreamState>();
  for (const state of states) {
    const known = byAddress.get(state.address);
    if (!known || RANK[state.state] > RANK[known.state]) byAddress.set(state.address, state);
  }
  return [...byAddress.values()];
}
