import { describe, expect, test } from "vitest";
import type { Change, ClusterFacts } from "#proto/agents.ts";
import { createReplica, type Replica } from "./replica.ts";

const cluster: ClusterFacts = {
  domain: "cluster.local",
  serviceCidrs: ["10.96.0.0/16"],
  dnsIps: ["10.96.0.10"],
  nodePortRange: { from: 30_000, to: 32_767 },
  heartbeatIntervalMs: 1000,
  nodeTimeoutMs: 5000,
};

const service = (name: string, revision: number, port = 80) => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default", resourceVersion: String(revision) },
  spec: { ports: [{ port }] },
});
const slice = (name: string, of: string, revision: number) => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name, namespace: "default", resourceVersion: String(revision), labels: { "kubernetes.io/service-name": of } },
  addressType: "IPv4",
  endpoints: [{ addresses: ["10.0.0.7"] }],
});
const workload = (name: string, node: string, revision: number) => ({
  apiVersion: "fairlead.dev/v1",
  kind: "Workload",
  metadata: { name, namespace: "default", resourceVersion: String(revision) },
  spec: { node },
});

function aReplica(): { replica: Replica; warned: unknown[] } {
  const warned: unknown[] = [];
  return { replica: createReplica({ nodeName: "vm-1", log: { warn: (line: unknown) => void warned.push(line) } }), warned };
}
const put = (object: { kind: string; metadata: { resourceVersion: string } }): Change => ({
  type: "PUT",
  kind: object.kind,
  object,
  revision: Number(object.metadata.resourceVersion),
});
const change = (replica: Replica, revision: number, ...changes: Change[]) => replica.applyChanges({ epoch: "e1", revision, changes });
const begin = (replica: Replica, revision: number, items: unknown[], epoch = "e1") =>
  replica.replaceWith({ epoch, revision, cluster, items });

test.for([
  ["Node", "vm-1"],
  ["OtherNodes", "vm-2"],
])("of endpoints with reach %s, the node vm-1 has those of %s", async ([reach, wanted]) => {
  const { replica } = aReplica();
  const reached = slice("web-1", "web", 1);
  const labels = { ...reached.metadata.labels, "fairlead.dev/reach": reach };
  const endpoints = ["vm-1", "vm-2"].map((nodeName) => ({ addresses: ["172.17.0.2"], nodeName, hostname: nodeName }));
  await begin(replica, 1, [{ ...reached, metadata: { ...reached.metadata, labels }, endpoints }]);
  expect(replica.state.slices.get("default/web-1")?.endpoints.map(({ nodeName }) => nodeName)).toEqual([wanted]);
});

test("of a service is held what kernel and names follow from, and nothing else", async () => {
  const { replica } = aReplica();
  const ingress = [{ ip: "192.0.2.1", ipMode: "VIP" }];
  const annotations = { "fairlead.dev/scheduler": "lc", "example.com/owner": "us" };
  const whole = service("a", 1);
  await begin(replica, 1, [
    {
      ...whole,
      metadata: { ...whole.metadata, annotations, labels: { tier: "web", "service.kubernetes.io/service-proxy-name": "x" } },
      status: { loadBalancer: { ingress }, more: 1 },
    },
  ]);
  expect(replica.state.services.get("default/a")).toMatchObject({ status: { loadBalancer: { ingress } } });
  expect(replica.state.services.get("default/a")?.metadata).toEqual({
    ...whole.metadata,
    annotations: { "fairlead.dev/scheduler": "lc" },
    labels: { "service.kubernetes.io/service-proxy-name": "x" },
  });
});

describe("changes", () => {
  test("a slice that goes over to another service touches both services", async () => {
    const { replica } = aReplica();
    await begin(replica, 3, [service("a", 1), service("b", 2), slice("s", "a", 3)]);
    const { touched } = change(replica, 4, put(slice("s", "b", 4)));
    expect([...touched.services].toSorted()).toEqual(["default/a", "default/b"]);
    expect(replica.state.slicesByService.has("default/a")).toBe(false);
    expect([...(replica.state.slicesByService.get("default/b")?.keys() ?? [])]).toEqual(["default/s"]);
  });

  test("a change that a page of the snapshot held already is not made again", async () => {
    const { replica } = aReplica();
    await begin(replica, 3, [service("a", 5, 8080)]);
    const { touched, step } = change(replica, 5, put(service("a", 4, 80)), put(service("a", 5, 8080)));
    expect(touched.services.size).toBe(0);
    expect(step).toBeUndefined();
    expect(replica.state.revision).toBe(5);
    expect(replica.state.services.get("default/a")?.spec.ports[0]?.port).toBe(8080);
  });

  test("a reply that was answered twice changes nothing the second time", async () => {
    const { replica } = aReplica();
    await begin(replica, 1, []);
    change(replica, 3, put(service("a", 2)), { type: "DELETE", kind: "Service", revision: 3, object: service("a", 3) });
    expect(change(replica, 3, put(service("a", 2))).touched.services.size).toBe(0);
    expect(replica.state.services.size).toBe(0);
  });

  test("an invalid object is skipped and named once, the others go on, and its last valid version stays until a valid one comes", async () => {
    const { replica, warned } = aReplica();
    await begin(replica, 2, [service("a", 1), service("bad", 2)]);
    change(replica, 4, put(service("bad", 3, 0)), put(service("b", 4)));
    change(replica, 5, put(service("bad", 5, 70_000)));
    expect(warned).toHaveLength(1);
    expect(replica.problems()).toEqual([expect.stringContaining("Service default/bad is skipped")]);
    expect([...replica.state.services.keys()]).toEqual(["default/a", "default/bad", "default/b"]);
    expect(replica.state.services.get("default/bad")?.spec.ports[0]?.port).toBe(80);
    change(replica, 6, put(service("bad", 6, 81)));
    expect(replica.problems()).toEqual([]);
  });

  test.for([undefined, null, 7, {}, { metadata: { name: 5 } }, { metadata: { name: "x" } }])(
    "%j is no object and stalls nothing",
    async (object) => {
      const { replica } = aReplica();
      await begin(replica, 1, []);
      change(replica, 3, { type: "PUT", kind: "Service", revision: 2, object }, put(service("b", 3)));
      expect([...replica.state.services.keys()]).toEqual(["default/b"]);
    },
  );

  test("what neither kernel nor names follow from is not held, and touches nothing when it is all that differs", async () => {
    const { replica } = aReplica();
    const noted = (revision: number, note: string) => {
      const { metadata, ...rest } = service("a", revision);
      return { ...rest, metadata: { ...metadata, uid: "6f1c", annotations: { note } } };
    };
    await begin(replica, 1, [noted(1, "one")]);
    expect(replica.state.services.get("default/a")?.metadata).toEqual({ name: "a", namespace: "default", resourceVersion: "1" });
    expect((await begin(replica, 1, [noted(1, "two")], "e2")).services.size).toBe(0);
  });

  test("only workloads of this node are held, and one that moves away goes", async () => {
    const { replica } = aReplica();
    await begin(replica, 2, [workload("w1", "vm-1", 1), workload("w2", "vm-2", 2)]);
    expect([...replica.state.ownWorkloads.keys()]).toEqual(["default/w1"]);
    const { touched, step } = change(replica, 4, put(workload("w2", "vm-2", 3)), put(workload("w1", "vm-2", 4)));
    expect([...touched.ownWorkloads]).toEqual(["default/w1"]);
    expect(step?.deletes).toEqual([{ kind: "Workload", key: "default/w1" }]);
    expect(replica.state.ownWorkloads.size).toBe(0);
  });
});

describe("snapshots", () => {
  test("the first one touches all", async () => {
    const { replica } = aReplica();
    expect(await begin(replica, 1, [service("a", 1)])).toMatchObject({ all: true, revision: 1 });
  });

  test("a later one touches only what differs", async () => {
    const { replica } = aReplica();
    await begin(replica, 4, [service("same", 1), service("other", 2), service("gone", 3), slice("s", "gone", 4)]);
    const touched = await begin(replica, 9, [service("same", 1), service("other", 8, 81), service("new", 9)]);
    expect(touched.all).toBe(false);
    expect([...touched.services].toSorted()).toEqual(["default/gone", "default/new", "default/other"]);
    expect(replica.state.slices.size).toBe(0);
  });

  test("of a restored backup, an object of the same revision with another content is taken, and the revision goes back", async () => {
    const { replica } = aReplica();
    await begin(replica, 9, [service("a", 5, 80)]);
    const touched = await begin(replica, 6, [service("a", 5, 81)], "e2");
    expect([...touched.services]).toEqual(["default/a"]);
    expect(replica.state.revision).toBe(6);
    expect(replica.epoch()).toBe("e2");
  });

  test("other facts about the fleet touch all", async () => {
    const { replica } = aReplica();
    await begin(replica, 1, []);
    expect((await replica.replaceWith({ epoch: "e1", revision: 1, cluster: { ...cluster, domain: "lan.test" }, items: [] })).all).toBe(
      true,
    );
  });
});
