import type { MembersStats } from "#agent/dns/members.ts";
import { Counter, Gauge, type Registry } from "./prometheus.ts";

export interface DnsMeasured {
  readonly stats: () => MembersStats;
  /** How old the state is that names are answered from; 0 while the server is being followed. */
  readonly stateAgeMs: () => number;
}

type Rows = readonly (readonly [labels: Record<string, string>, value: number])[];

/** What DNS says of itself, besides forwarding (forward-metrics.ts); read from the members' last report, which is a second old at most. */
export function registerDnsMetrics(registry: Registry, { stats, stateAgeMs }: DnsMeasured): void {
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: readonly string[], rows: () => Rows): void => {
    const metric: Counter = new Counter({
      name,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        metric.reset();
        for (const [labels, value] of rows()) metric.inc(labels, value);
      },
    });
  };
  const gauge = (name: string, help: string, labelNames: readonly string[], rows: () => Rows): void => {
    const metric: Gauge = new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        metric.reset();
        for (const [labels, value] of rows()) metric.set(labels, value);
      },
    });
  };

  counter("fairlead_dns_queries_total", "Replies, by whose name was asked for, type and code", ["zone", "type", "rcode"], () =>
    stats().answers.map(({ zone, type, rcode, count }) => [{ zone, type, rcode }, count]),
  );
  counter("fairlead_dns_dropped_total", "Messages and connections that got no answer", ["reason"], () =>
    Object.entries(stats().dropped).map(([reason, count]) => [{ reason }, count]),
  );
  counter("fairlead_dns_restarts_total", "Threads that ended by themselves", [], () => [[{}, stats().restarts]]);
  gauge("fairlead_dns_members", "Threads that answer", [], () => [[{}, stats().running]]);
  gauge("fairlead_dns_names", "Names that are answered, those between them and the domain included", [], () => [[{}, stats().names]]);
  gauge("fairlead_dns_revision", "The revision that names are answered from", [], () => [[{}, stats().revision]]);
  gauge("fairlead_dns_state_age_seconds", "How old that state is; 0 while the server is followed", [], () => [[{}, stateAgeMs() / 1000]]);
  gauge("fairlead_dns_self_query_seconds", "How long the last question to ourselves took; absent = it was not answered", [], () => {
    const ms = stats().selfQueryMs;
    return ms === undefined ? [] : [[{}, ms / 1000]];
  });
}
