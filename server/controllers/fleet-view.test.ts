import { expect, test } from "vitest";
import type { AnyObject } from "#proto/kinds.ts";
import { parseObject } from "#proto/parse.ts";
import { cpuMs } from "#test/cpu-time.ts";
import { createFleetView, type FleetView } from "./fleet-view.ts";

const SERVICES = 10_000;

function aService(i: number): AnyObject {
  const spec = { selector: { env: "prod", app: `a${i}` }, ports: [{ port: 80 }] };
  return parseObject("Service", { apiVersion: "v1", kind: "Service", metadata: { name: `s${i}`, namespace: "default" }, spec });
}

function aWorkload(i: number, { spec, status }: { spec?: object; status?: object } = {}): AnyObject {
  return parseObject("Workload", {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name: `w${i}`, namespace: "default", labels: { env: "prod", app: `a${i}` } },
    spec: { node: `n${i % 1000}`, address: "192.168.1.11", ports: [{ port: 80 }], ...spec },
    status,
  });
}

function aNode(name: string, reason: string): AnyObject {
  const conditions = [{ type: "Ready", status: reason === "HeartbeatReceived" ? "True" : "Unknown", reason }];
  return parseObject("Node", { apiVersion: "v1", kind: "Node", metadata: { name }, status: { conditions } });
}

function aLargeFleet(): FleetView {
  const view = createFleetView();
  const all = Array.from({ length: SERVICES }, (_, i) => [aService(i), aWorkload(i)]).flat();
  view.apply([aNode("n7", "HeartbeatReceived"), ...all].map((object) => ({ type: "ADDED", object })));
  return view;
}

const touchedBy = (view: FleetView, object: AnyObject): string[] => [...view.apply([{ type: "MODIFIED", object }])];

test("of 10,000 services that share a label, a change of a workload concerns its own, and costs no more than that", () => {
  const view = aLargeFleet();
  const drainMany = (): void => {
    for (let i = 0; i < 1000; i++) expect(touchedBy(view, aWorkload(i, { spec: { drain: true } }))).toEqual([`default/s${i}`]);
  };
  expect(cpuMs(drainMany)).toBeLessThan(1000); // looking at every service each time would be ten million comparisons
});

test("a change that endpoints do not follow from concerns nobody", () => {
  const view = aLargeFleet();
  expect(touchedBy(view, aWorkload(5, { status: { since: "2026-01-01T00:00:00Z" } }))).toEqual([]);
  expect(touchedBy(view, aNode("n7", "HeartbeatReceived"))).toEqual([]);
});

test("a lost host concerns the services that have workloads there, a host that the brake keeps concerns nobody", () => {
  const view = aLargeFleet();
  expect(touchedBy(view, aNode("n7", "MassFailureBrake"))).toEqual([]);
  const touched = touchedBy(view, aNode("n7", "HeartbeatLost"));
  expect(touched.toSorted()).toEqual(Array.from({ length: 10 }, (_, i) => `default/s${7 + 1000 * i}`).toSorted());
});

test("services of another namespace are not concerned", () => {
  const view = aLargeFleet();
  const elsewhere = parseObject("Workload", {
    ...aWorkload(3),
    metadata: { name: "w3", namespace: "other", labels: { env: "prod", app: "a3" } },
  });
  expect([...view.apply([{ type: "ADDED", object: elsewhere }])]).toEqual([]);
});

test("services that lead to nobody: no workload, not ready, drained, of no weight, or on a host that is lost", () => {
  const view = createFleetView();
  const all = [
    aNode("n1", "HeartbeatReceived"),
    aNode("n2", "HeartbeatLost"),
    ...[1, 2, 3, 4, 5, 6].map(aService),
    aWorkload(1, { spec: { node: "n1" } }),
    aWorkload(2, { spec: { node: "n2" } }),
    aWorkload(3, { spec: { node: "n1", drain: true } }),
    aWorkload(4, { spec: { node: "n1", weight: 0 } }),
    aWorkload(5, { spec: { node: "n1", checks: [{ tcp: { port: 80 } }] }, status: { ready: false } }),
    parseObject("Service", {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "by-hand", namespace: "default" },
      spec: { ports: [{ port: 80 }] },
    }),
  ];
  view.apply(all.map((object) => ({ type: "ADDED", object })));
  expect(view.idleServices()).toEqual(["s2", "s3", "s4", "s5", "s6"].map((name) => `default/${name}`));
});
