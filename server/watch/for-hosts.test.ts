import { expect, test } from "vitest";
import { parseObject } from "#proto/parse.ts";
import { forHosts } from "./for-hosts.ts";

const workload = parseObject("Workload", {
  apiVersion: "fairlead.dev/v1",
  kind: "Workload",
  metadata: { name: "w", namespace: "default", managedFields: [{ manager: "kubectl" }] },
  spec: { node: "vm-1", ports: [{ port: 80 }], checks: [{ http: { port: 80 }, interval: "2s" }] },
});

test("hosts get checks with all their defaults, however they stand in the store, and nobody's managedFields", () => {
  const stored = { ...workload, spec: { ...workload.spec, checks: JSON.parse('[{"http":{"port":80},"interval":"2s"}]') as never } };
  const { managedFields: _owners, ...metadata } = workload.metadata;
  expect(forHosts(stored)).toEqual({ ...workload, metadata });
  expect(forHosts(stored)).toHaveProperty("spec.checks", [
    { http: { port: 80, path: "/" }, interval: "2s", timeout: "1s", rise: 1, fall: 3 },
  ]);
});

test("what has nothing of that is passed on as it is", () => {
  const namespace = parseObject("Namespace", { apiVersion: "v1", kind: "Namespace", metadata: { name: "n" } });
  expect(forHosts(namespace)).toBe(namespace);
});
