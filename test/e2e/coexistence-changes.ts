// Runs on the server's host: changes Services of every kind and their endpoints at random, 100 times a second; the same seed makes the same changes.
//   node test/e2e/coexistence-changes.ts --kubeconfig /etc/fairlead/admin.yaml --changes 1000 --seed 3
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import fc from "fast-check";
import { findConfig, openContext } from "#cli/context.ts";
import { createClient } from "#proto/client.ts";
import { isAppError } from "#proto/error.ts";
import type { ServiceInput, ServicePort } from "#proto/service.ts";

const { values } = parseArgs({
  options: {
    kubeconfig: { type: "string", default: "" },
    changes: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
  },
});
const SERVICES = 40;
const EVERY_MS = 10;
const namespace = "default";

type Port = NonNullable<ServiceInput["spec"]["ports"]>[number] & Pick<ServicePort, "protocol">;
const HTTP: Port = { name: "http", port: 80, protocol: "TCP" };
const aSpec = fc.record({
  type: fc.constantFrom<("ClusterIP" | "NodePort" | "LoadBalancer")[]>("ClusterIP", "NodePort", "LoadBalancer"),
  ports: fc.constantFrom<Port[][]>(
    [HTTP],
    [{ name: "http", port: 53, protocol: "UDP" }],
    [HTTP, { name: "more", port: 443, protocol: "TCP" }],
  ),
  sessionAffinity: fc.constantFrom<("None" | "ClientIP")[]>("None", "ClientIP"),
  internalTrafficPolicy: fc.constantFrom<("Cluster" | "Local")[]>("Cluster", "Local"),
});
const aChange = fc.record({
  name: fc.nat(SERVICES - 1).map((number) => `random-${number}`),
  spec: fc.option(aSpec, { nil: undefined, freq: 4 }),
  endpoints: fc.uniqueArray(fc.integer({ min: 1, max: 30 }), { maxLength: 12 }),
});

const client = createClient(await openContext(await findConfig([{ path: values.kubeconfig, named: "--kubeconfig" }])));

/** What is there already, or is not, or what the server refuses: then this change changes nothing, and the next comes. */
async function tolerant(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (isAppError(error) && ["AlreadyExists", "Conflict", "NotFound", "Invalid"].includes(error.code)) return false;
    throw error;
  }
}

const counts = { deleted: 0, created: 0, changed: 0, slices: 0 };
for (const { name, spec, endpoints } of fc.sample(aChange, { seed: Number(values.seed), numRuns: Number(values.changes) })) {
  await delay(EVERY_MS);
  if (spec === undefined) {
    if (await tolerant(async () => client.delete("Service", name, { namespace }))) counts.deleted++;
    continue;
  }
  const service = { apiVersion: "v1" as const, kind: "Service" as const, metadata: { name }, spec };
  if (await tolerant(async () => client.create("Service", service, { namespace }))) counts.created++;
  else if (await tolerant(async () => client.patch("Service", name, { spec }, { namespace }))) counts.changed++;
  const slice = {
    addressType: "IPv4" as const,
    endpoints: endpoints.map((low) => ({ addresses: [`172.30.200.${low}`] })),
    ports: spec.ports.map(({ name: portName, protocol }) => ({ name: portName, port: 8080, protocol })),
  };
  const metadata = { name: `${name}-1`, labels: { "kubernetes.io/service-name": name } };
  const whole = { apiVersion: "discovery.k8s.io/v1" as const, kind: "EndpointSlice" as const, metadata, ...slice };
  if (await tolerant(async () => client.create("EndpointSlice", whole, { namespace }))) counts.slices++;
  else if (await tolerant(async () => client.patch("EndpointSlice", whole.metadata.name, slice, { namespace }))) counts.slices++;
}
process.stdout.write(`${JSON.stringify(counts)}\n`);
await client.close();
