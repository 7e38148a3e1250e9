import { expect, test } from "vitest";
import { unknownFields } from "./unknown-fields.ts";

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
