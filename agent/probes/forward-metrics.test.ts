import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { addForwarding, Latency, NO_FORWARDING, type ForwardStats } from "#agent/dns/forward-stats.ts";
import { addForwardMetrics } from "./forward-metrics.ts";

function latencyOf(...seconds: readonly number[]): ForwardStats["latency"] {
  const latency = new Latency();
  for (const each of seconds) latency.add(each);
  return latency.read();
}

test("what the threads have counted is on /metrics, and is there once however often it is read", async () => {
  const registry = new Registry();
  const one = {
    ...NO_FORWARDING,
    hits: 3,
    latency: latencyOf(0.0005, 0.001, 0.02),
    upstreams: [{ address: "10.0.0.1", state: "up" }],
  } as const;
  const two = { ...NO_FORWARDING, hits: 4, latency: latencyOf(9), upstreams: [{ address: "10.0.0.1", state: "down" }] } as const;
  addForwardMetrics(registry, () => addForwarding(one, two));
  await registry.metrics();
  const text = await registry.metrics();
  const value = (name: string) =>
    text
      .split("\n")
      .find((line) => line.startsWith(`${name} `))
      ?.split(" ")[1];
  expect(value('fairlead_dns_forward_total{outcome="hits"}')).toBe("7");
  expect(value('fairlead_dns_upstream_up{upstream="10.0.0.1"}')).toBe("0"); // one thread cannot reach it
  expect(value('fairlead_dns_forward_seconds_bucket{le="0.001"}')).toBe("2");
  expect(value('fairlead_dns_forward_seconds_bucket{le="0.025"}')).toBe("3");
  expect(value('fairlead_dns_forward_seconds_bucket{le="+Inf"}')).toBe("4");
  expect(value("fairlead_dns_forward_seconds_count")).toBe("4");
  expect(Number(value("fairlead_dns_forward_seconds_sum"))).toBeCloseTo(9.0215);
});
