import { LATENCY_SECONDS, type ForwardStats } from "#agent/dns/forward-stats.ts";
import { Counter, Gauge, type Registry } from "./prometheus.ts";

const OUTCOMES = ["hits", "stale", "misses", "merged", "failed", "inside"] as const;

/** How DNS questions for names of others go, on /metrics. The counting is done in the threads that answer. */
export function addForwardMetrics(registry: Registry, stats: () => ForwardStats): void {
  const registers = [registry];
  new Counter({
    name: "fairlead_dns_forward_total",
    help: "DNS questions for other names, by what became of them; misses = asked of an upstream, inside = asked of nobody",
    labelNames: ["outcome"],
    registers,
    collect() {
      const counts = stats();
      this.reset();
      for (const outcome of OUTCOMES) this.inc({ outcome }, counts[outcome]);
    },
  });
  new Gauge({
    name: "fairlead_dns_upstream_up",
    help: "1 = the upstream answers, 0 = it does not, or leads back to this agent",
    labelNames: ["upstream"],
    registers,
    collect() {
      this.reset();
      for (const { address, state } of stats().upstreams) this.set({ upstream: address }, state === "up" ? 1 : 0);
    },
  });
  new Gauge({
    name: "fairlead_dns_forward_cache_entries",
    help: "Replies of upstreams that are kept",
    registers,
    collect() {
      this.set(stats().cacheEntries);
    },
  });
  addLatency(registers, stats);
}

/** As a histogram has it; prom-client's own cannot be given what others have counted. */
function addLatency(registers: Registry[], stats: () => ForwardStats): void {
  new Counter({
    name: "fairlead_dns_forward_seconds_bucket",
    help: "How many replies of upstreams took up to `le` seconds",
    labelNames: ["le"],
    registers,
    collect() {
      this.reset();
      let total = 0;
      for (const [i, count] of stats().latency.counts.entries()) {
        total += count;
        this.inc({ le: String(LATENCY_SECONDS[i] ?? "+Inf") }, total);
      }
    },
  });
  new Counter({
    name: "fairlead_dns_forward_seconds_sum",
    help: "How long replies of upstreams took, in all",
    registers,
    collect() {
      this.reset();
      this.inc(stats().latency.sumSeconds);
    },
  });
  new Counter({
    name: "fairlead_dns_forward_seconds_count",
    help: "How many replies of upstreams came",
    registers,
    collect() {
      this.reset();
      this.inc(stats().latency.counts.reduce((sum, count) => sum + count, 0));
    },
  });
}
