import { kindNames, type KindName } from "#proto/kinds.ts";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "./prometheus.ts";
import type { Store } from "./store/store.ts";
import type { Polls } from "./api/polls.ts";

/** What the server says of itself on /metrics. Others add theirs to `registry`. */
export interface Metrics {
  readonly registry: Registry;
  observeRequest(request: { route: string; method: string; code: number; seconds: number; waited: boolean }): void;
  observeCommit(seconds: number): void;
}

export interface Measured {
  readonly store: Store;
  readonly polls: Polls;
  readonly objectCounts: () => Readonly<Record<KindName, number>>;
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export function createMetrics({ store, polls, objectCounts }: Measured): Metrics {
  const registry = new Registry();
  const registers = [registry];
  // Every 10 ms otherwise, which is half of what an idle server does.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  const requests = new Counter({
    name: "fairlead_requests_total",
    help: "Requests answered",
    labelNames: ["route", "method", "code"],
    registers,
  });
  const requestSeconds = new Histogram({
    name: "fairlead_request_seconds",
    help: "From the request to its answer; without long polls and watches",
    labelNames: ["route", "method"],
    buckets: SECONDS,
    registers,
  });
  const commitSeconds = new Histogram({
    name: "fairlead_store_commit_seconds",
    help: "From handing a request's write to the store until it is on disk",
    buckets: SECONDS,
    registers,
  });
  gauge(registry, "fairlead_store_revision", "Revision of the newest committed change", () => store.revision);
  gauge(registry, "fairlead_store_compacted_revision", "Newest revision whose change is forgotten", () => store.compactedRevision);
  gauge(registry, "fairlead_long_polls_pending", "Hosts that wait for changes", () => polls.pending("changes"));
  gauge(registry, "fairlead_receipt_polls_pending", "Callers that wait for changes to be live", () => polls.pending("receipts"));
  gauge(registry, "fairlead_watches", "Open watches", () => polls.pending("watch"));
  const objects = new Gauge({
    name: "fairlead_objects",
    help: "Objects in the store",
    labelNames: ["kind"],
    registers,
    collect: () => {
      const counts = objectCounts();
      for (const kind of kindNames) objects.set({ kind }, counts[kind]);
    },
  });
  return {
    registry,
    observeRequest: ({ route, method, code, seconds, waited }) => {
      requests.inc({ route, method, code });
      if (!waited) requestSeconds.observe({ route, method }, seconds);
    },
    observeCommit: (seconds) => commitSeconds.observe(seconds),
  };
}

function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  const made: Gauge = new Gauge({ name, help, registers: [registry], collect: () => made.set(read()) });
}
