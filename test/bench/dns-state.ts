// Writes the state that an agent of a fleet with N services would have on disk:  node test/bench/dns-state.ts FOLDER N
import { pino } from "pino";
import { createReplica } from "#agent/sync/replica.ts";
import { createReplicaStore } from "#agent/sync/replica-store.ts";
import { dnsAddressOf, DNS_FACTS } from "./dns-zone.ts";
import { waitFor } from "../wait-for.ts";
import { stat } from "node:fs/promises";
import { join } from "node:path";

const [folder = "", services = ""] = process.argv.slice(2);
const log = pino({ level: "warn" }, pino.destination(2));
const replica = createReplica({ nodeName: "h1", log });
const cluster = { ...DNS_FACTS, nodePortRange: { from: 30_000, to: 32_767 }, heartbeatIntervalMs: 1000, nodeTimeoutMs: 5000 };
const items = Array.from({ length: Number(services) }, (_, i) => [
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: `s${i}`, namespace: "default", resourceVersion: "1" },
    spec: { clusterIP: dnsAddressOf(i), ports: [{ name: "http", port: 80 }] },
  },
  {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `s${i}-1`, namespace: "default", resourceVersion: "1", labels: { "kubernetes.io/service-name": `s${i}` } },
    addressType: "IPv4",
    endpoints: [0, 1].map((n) => ({ addresses: [`172.${28 + n}.${i >> 8}.${i & 255}`] })),
    ports: [{ name: "http", port: 8080 }],
  },
]).flat();
await replica.replaceWith({ epoch: "bench", revision: 1, cluster, items });
const store = createReplicaStore({ folder, nodeName: "h1", image: () => replica.image(), log });
await store.load();
store.rewrite();
const stop = new AbortController();
const running = store.run(stop.signal);
await waitFor(
  () =>
    stat(join(folder, "image")).then(
      () => true,
      () => false,
    ),
  { what: "the image", timeoutMs: 30_000 },
);
stop.abort();
await running;
