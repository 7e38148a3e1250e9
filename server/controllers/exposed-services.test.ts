import { expect, test } from "vitest";
import { parseObject } from "#proto/parse.ts";
import { serviceFor } from "./exposed-services.ts";

function aWorkload(ports: object[], metadata: object = {}) {
  return parseObject("Workload", {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name: "web-vm-1", namespace: "shop", labels: { app: "web" }, annotations: { "fairlead.dev/expose": "web" }, ...metadata },
    spec: { node: "vm-1", ports },
  });
}

test("a workload that asks for a service gets one with its label and the ports that its program has", () => {
  expect(serviceFor(aWorkload([{ port: 18_080, containerPort: 80 }]))).toMatchObject({
    metadata: { name: "web", namespace: "shop" },
    spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: 80, protocol: "TCP" }] },
  });
});

test("several ports have names, as services need them; names of the workload's ports are found by name", () => {
  const both = [
    { name: "http", port: 8080 },
    { port: 53, protocol: "UDP" },
  ];
  expect(serviceFor(aWorkload(both))?.spec.ports).toEqual([
    { name: "http", port: 8080, targetPort: "http", protocol: "TCP" },
    { name: "udp-53", port: 53, targetPort: 53, protocol: "UDP" },
  ]);
});

test.for([
  { name: "does not ask", metadata: { annotations: {} } },
  { name: "has no label app", metadata: { labels: {} } },
])("one that $name gets none", ({ metadata }) => {
  expect(serviceFor(aWorkload([{ port: 80 }], metadata))).toBeUndefined();
});

test("nor one without ports", () => expect(serviceFor(aWorkload([]))).toBeUndefined());
