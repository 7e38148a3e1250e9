import { expect, test } from "vitest";
import { kindNames, kinds } from "./kinds.ts";
import { keptOnlyWarnings, unknownFields } from "./unknown-fields.ts";

const meta = { name: "web" };

test("fields that the schema knows are not told, wherever they stand", () => {
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { ...meta, labels: { any: "key" }, annotations: { "a/b": "c" }, ownerReferences: [{ uid: "u" }], managedFields: [{}] },
    spec: { ports: [{ port: 80 }], selector: { app: "web" }, sessionAffinityConfig: { clientIP: { timeoutSeconds: 5 } } },
    status: { loadBalancer: { ingress: [{ ip: "10.0.0.1" }] } },
  };
  expect(unknownFields("Service", service)).toEqual([]);
});

test("unknown fields are told with their paths, in lists and under defaults too", () => {
  const service = { metadata: { ...meta, colour: 1 }, spec: { selectr: {}, ports: [{ port: 80 }, { prot: 1 }] }, extra: 1 };
  expect(unknownFields("Service", service)).toEqual(["metadata.colour", "spec.selectr", "spec.ports[1].prot", "extra"]);
  const slice = { metadata: meta, endpoints: [{ addresses: ["10.0.0.1"], conditions: { redy: true } }] };
  expect(unknownFields("EndpointSlice", slice)).toEqual(["endpoints[0].conditions.redy"]);
  expect(unknownFields("Workload", { spec: { checks: [{ http: { port: 80, paht: "/" } }] } })).toEqual(["spec.checks[0].http.paht"]);
});

test("of very many unknown fields only the first are told", () => {
  const spec = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`field${i}`, 1]));
  expect(unknownFields("Service", { metadata: meta, spec })).toHaveLength(50);
});

test("of fields on which nobody acts the writer is told, once for a list, and not where nothing stands there", () => {
  const node = {
    metadata: { ...meta, finalizers: ["a/b"], ownerReferences: [] },
    spec: { podCIDR: "10.200.1.0/24", providerID: "x", taints: [{ key: "a" }] },
  };
  expect(keptOnlyWarnings("Node", node)).toEqual([
    "metadata.finalizers is kept, not acted on: a deleted object goes without waiting for anybody",
    "spec.providerID is kept, not acted on",
    "spec.taints is kept, not acted on: to drain a host, set spec.unschedulable",
  ]);
  const endpoint = { addresses: ["10.0.0.1"], deprecatedTopology: { a: "b" } };
  const slice = { metadata: meta, endpoints: [{ addresses: ["10.0.0.2"] }, endpoint, endpoint], ports: [{ appProtocol: "http" }] };
  expect(keptOnlyWarnings("EndpointSlice", slice)).toEqual([
    "endpoints[1].deprecatedTopology is kept, not acted on: an endpoint's place stands in nodeName and zone",
    "ports[0].appProtocol is kept, not acted on: hosts forward all protocols alike",
  ]);
  expect(keptOnlyWarnings("Service", { metadata: meta, spec: { ports: [{ port: 80 }], selector: { finalizers: "x" } } })).toEqual([]);
});

test("what is said of such a field in its description is what its writer is told", () => {
  for (const kind of kindNames) {
    const { finalizers, ownerReferences } = kinds[kind].schema.shape.metadata.shape;
    expect(finalizers.description).toMatch(/Kept, not acted on: a deleted object goes without waiting for anybody\.$/);
    expect(ownerReferences.description).toMatch(/Kept, not acted on: nothing is deleted with its owner\.$/);
  }
});
