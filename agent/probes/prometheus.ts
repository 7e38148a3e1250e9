import { createRequire } from "node:module";
import type Prometheus from "prom-client";

// The package as a whole loads a push gateway and an aggregator, and with them TLS and Node's cluster: 15 MB in each agent (docs/adr/0330).
const require = createRequire(import.meta.url);

/** Each is what prom-client itself exports by this name. */
export const Registry = require("prom-client/lib/registry.js") as typeof Prometheus.Registry;
export type Registry = Prometheus.Registry;
export const Counter = require("prom-client/lib/counter.js") as typeof Prometheus.Counter;
export type Counter = Prometheus.Counter;
export const Gauge = require("prom-client/lib/gauge.js") as typeof Prometheus.Gauge;
export type Gauge = Prometheus.Gauge;
export const Histogram = require("prom-client/lib/histogram.js") as typeof Prometheus.Histogram;
