import { describe, expect, test } from "vitest";
import { orUndefined, type Client } from "#proto/client.ts";
import { paths } from "#proto/paths.ts";
import { waitFor } from "#test/wait-for.ts";
import { aService, aWorkload, readyEndpoints, startFleet, type FleetServer } from "./fleet-server.ts";

async function expectReady(client: Client, service: string, want: string[]): Promise<void> {
  await waitFor(
    async () => {
      expect(await readyEndpoints(client, service)).toEqual(want);
      return true;
    },
    { what: `the endpoints of ${service}` },
  );
}

async function endpointOf(client: Client, service: string, name: string) {
  const { items } = await client.list("EndpointSlice", { namespace: "default", labelSelector: `kubernetes.io/service-name=${service}` });
  return items.flatMap(({ endpoints }) => endpoints).find(({ hostname }) => hostname === name);
}

const inDefault = { namespace: "default" };

describe("endpoints", () => {
  test("follow from selectors, through every change of service, workload and host", async () => {
    const fleet = await startFleet();
    const { admin } = fleet;
    await fleet.host("vm-1", "192.168.56.11");
    await fleet.host("vm-2", "192.168.56.12");
    await admin.create("Service", aService("web"));
    await admin.create("Workload", aWorkload("web-1", "vm-1", {}, "web"));
    await admin.create("Workload", aWorkload("web-2", "vm-2", {}, "web"));
    await expectReady(admin, "web", ["192.168.56.11:8080", "192.168.56.12:8080"]);

    await admin.patch("Service", "web", { spec: { ports: [{ port: 80, targetPort: 9090 }] } }, inDefault);
    await expectReady(admin, "web", ["192.168.56.11:9090", "192.168.56.12:9090"]);
    await admin.patch("Workload", "web-2", { metadata: { labels: { app: "other" } } }, inDefault);
    await expectReady(admin, "web", ["192.168.56.11:9090"]);
    await admin.patch("Service", "web", { spec: { selector: { app: "other" } } }, inDefault);
    await expectReady(admin, "web", ["192.168.56.12:9090"]);
    await admin.patch("Node", "vm-2", { spec: { unschedulable: true } });
    await expectReady(admin, "web", []);
    expect((await endpointOf(admin, "web", "web-2"))?.conditions).toEqual({ ready: false, serving: true, terminating: true });
    await admin.patch("Node", "vm-2", { spec: { unschedulable: null } });
    await expectReady(admin, "web", ["192.168.56.12:9090"]);
    await admin.delete("Service", "web", inDefault);
    await waitFor(async () => (await admin.list("EndpointSlice")).items.length === 0, { what: "the slices to go" });
  });

  test("tell zones, hints and weights, and follow each of them", async () => {
    const fleet = await startFleet();
    const { admin } = fleet;
    await fleet.host("vm-1", "192.168.56.11");
    await admin.create("Service", aService("web", { trafficDistribution: "PreferSameNode" }));
    await admin.create("Workload", aWorkload("web-1", "vm-1", { weight: 0 }, "web"));
    const expectEndpoint = (want: object) =>
      waitFor(
        async () => {
          const { zone, hints, weight } = (await endpointOf(admin, "web", "web-1")) ?? {};
          expect({ zone, hints, weight }).toEqual({ zone: undefined, hints: undefined, weight: undefined, ...want });
          return true;
        },
        { what: JSON.stringify(want) },
      );
    const forNodes = [{ name: "vm-1" }];
    await expectEndpoint({ weight: 0, hints: { forNodes } });
    const inZone = (zone: string | null) => admin.patch("Node", "vm-1", { metadata: { labels: { "topology.kubernetes.io/zone": zone } } });
    await inZone("east");
    await expectEndpoint({ weight: 0, zone: "east", hints: { forNodes, forZones: [{ name: "east" }] } });
    await admin.patch("Service", "web", { spec: { trafficDistribution: "PreferClose" } }, inDefault);
    await expectEndpoint({ weight: 0, zone: "east", hints: { forZones: [{ name: "east" }] } });
    await inZone("west");
    await expectEndpoint({ weight: 0, zone: "west", hints: { forZones: [{ name: "west" }] } });
    await admin.patch("Workload", "web-1", { spec: { weight: 1 } }, inDefault);
    await admin.patch("Service", "web", { spec: { trafficDistribution: null } }, inDefault);
    await expectEndpoint({ zone: "west" });
    await inZone(null);
    await expectEndpoint({});
  });

  test("that are not ready are published as if they were where the service says so, and drain as serving and terminating", async () => {
    const fleet = await startFleet();
    const { admin } = fleet;
    await fleet.host("vm-1", "192.168.56.11");
    await admin.create("Service", aService("web"));
    await admin.create("Workload", aWorkload("web-1", "vm-1", { checks: [{ tcp: { port: 8080 } }] }, "web"));
    await admin.create("Workload", aWorkload("web-2", "vm-1", { terminationGracePeriodSeconds: 60 }, "web"));
    const expectConditions = (name: string, ready: boolean, serving: boolean, terminating: boolean) =>
      waitFor(
        async () => {
          expect((await endpointOf(admin, "web", name))?.conditions).toEqual({ ready, serving, terminating });
          return true;
        },
        { what: `the conditions of ${name}` },
      );
    await expectConditions("web-1", false, false, false);
    await admin.patch("Service", "web", { spec: { publishNotReadyAddresses: true } }, inDefault);
    await expectConditions("web-1", true, false, false);
    await admin.delete("Workload", "web-2", inDefault);
    await expectConditions("web-2", true, true, true);
    await admin.patch("Service", "web", { spec: { publishNotReadyAddresses: false } }, inDefault);
    await expectConditions("web-1", false, false, false);
    await expectConditions("web-2", false, true, true);
  });

  test("a workload with checks is ready when its host says so, and out when it fails", async () => {
    const fleet = await startFleet();
    const { admin } = fleet;
    const host = await fleet.host("vm-1", "192.168.56.11");
    await admin.create("Service", aService("web"));
    await host.client.create("Workload", aWorkload("web-1", "vm-1", { checks: [{ tcp: { port: 8080 } }] }, "web"));
    await waitFor(async () => (await endpointOf(admin, "web", "web-1"))?.conditions.ready === false, {
      what: "an endpoint that is not ready",
    });
    const verdict = (ready: boolean) =>
      host.client.patch("Workload", "web-1", { status: { ready } }, { ...inDefault, subresource: "status" });
    await verdict(true);
    await expectReady(admin, "web", ["192.168.56.11:8080"]);
    await verdict(false);
    await expectReady(admin, "web", []);
  });

  test("made by hand stay as they are, and what the controller made is its own", async () => {
    const fleet = await startFleet();
    const { admin } = fleet;
    await fleet.host("vm-1", "192.168.56.11");
    await admin.create("Service", aService("db", { selector: undefined }));
    const byHand = await admin.create("EndpointSlice", {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: "db-1", namespace: "default", labels: { "kubernetes.io/service-name": "db" } },
      addressType: "IPv4",
      ports: [{ port: 5432 }],
      endpoints: [{ addresses: ["192.168.56.50"] }],
    });
    await admin.patch("Service", "db", { metadata: { labels: { touched: "yes" } } }, inDefault);
    await admin.create("Service", aService("web"));
    await admin.create("Workload", aWorkload("web-1", "vm-1", {}, "web"));
    await expectReady(admin, "web", ["192.168.56.11:8080"]);
    expect(await admin.get("EndpointSlice", "db-1", inDefault)).toEqual(byHand);

    const [made] = (await admin.list("EndpointSlice", { labelSelector: "kubernetes.io/service-name=web" })).items;
    const name = made?.metadata.name ?? "";
    await expect(admin.patch("EndpointSlice", name, { endpoints: [] }, inDefault)).rejects.toMatchObject({ code: "Forbidden" });
    await admin.delete("EndpointSlice", name, inDefault);
    await expectReady(admin, "web", ["192.168.56.11:8080"]);
    await admin.patch("Service", "web", { spec: { selector: null } }, inDefault);
    await expectReady(admin, "web", []);
  });

  test("a change made while the server was down is followed when it is back", async () => {
    const fleet = await startFleet();
    const { admin } = fleet;
    await fleet.host("vm-1", "192.168.56.11");
    await admin.create("Service", aService("web"));
    await admin.create("Workload", aWorkload("web-1", "vm-1", {}, "web"));
    await expectReady(admin, "web", ["192.168.56.11:8080"]);
    const before = (await admin.list("EndpointSlice")).items;
    await fleet.restart();
    await expectReady(admin, "web", ["192.168.56.11:8080"]);
    await admin.create("Workload", aWorkload("web-2", "vm-1", { address: "192.168.56.99" }, "web"));
    await expectReady(admin, "web", ["192.168.56.11:8080", "192.168.56.99:8080"]);
    expect((await admin.list("EndpointSlice")).items.map(({ metadata }) => metadata.uid)).toEqual(
      before.map(({ metadata }) => metadata.uid),
    );
  });
});

describe("leases", () => {
  const reasonOf = async ({ admin }: FleetServer, node: string) =>
    (await admin.get("Node", node)).status.conditions.find(({ type }) => type === "Ready")?.reason;

  async function threeHosts() {
    const fleet = await startFleet();
    const hosts = [
      await fleet.host("vm-1", "192.168.56.11"),
      await fleet.host("vm-2", "192.168.56.12"),
      await fleet.host("vm-3", "192.168.56.13"),
    ] as const;
    await fleet.admin.create("Service", aService("web"));
    for (const { name } of hosts) await fleet.admin.create("Workload", aWorkload(`web-${name}`, name, {}, "web"));
    await expectReady(fleet.admin, "web", ["192.168.56.11:8080", "192.168.56.12:8080", "192.168.56.13:8080"]);
    return { fleet, hosts };
  }

  test("heartbeats write nothing", async () => {
    const { fleet, hosts } = await threeHosts();
    const { resourceVersion } = await fleet.admin.list("Node");
    for (let i = 0; i < 20; i++) for (const host of hosts) await host.beat({ applied: i });
    expect((await fleet.admin.list("Node")).resourceVersion).toBe(resourceVersion);
  });

  test("a host that goes silent is out, with an Event, and back with its next heartbeat", async () => {
    const { fleet, hosts } = await threeHosts();
    await hosts[1].silence();
    await expectReady(fleet.admin, "web", ["192.168.56.11:8080", "192.168.56.13:8080"]);
    expect(await reasonOf(fleet, "vm-2")).toBe("HeartbeatLost");
    await waitFor(
      async () =>
        (await fleet.admin.list("Event")).items.some(
          ({ reason, involvedObject }) => reason === "NodeNotReady" && involvedObject.name === "vm-2",
        ),
      { what: "the Event" },
    );
    hosts[1].resume();
    await expectReady(fleet.admin, "web", ["192.168.56.11:8080", "192.168.56.12:8080", "192.168.56.13:8080"]);
  });

  test("when two of three go silent at once nothing is taken out, and an Event says why, until they are back", async () => {
    const { fleet, hosts } = await threeHosts();
    await Promise.all([hosts[0].silence(), hosts[1].silence()]);
    await waitFor(
      async () => (await reasonOf(fleet, "vm-1")) === "MassFailureBrake" && (await reasonOf(fleet, "vm-2")) === "MassFailureBrake",
      { what: "the brake" },
    );
    expect(await readyEndpoints(fleet.admin, "web")).toHaveLength(3);
    const event = await waitFor(
      async () => (await fleet.admin.list("Event")).items.find(({ involvedObject }) => involvedObject.kind === "Fleet"),
      { what: "the Event" },
    );
    expect(event).toMatchObject({
      reason: "MassFailureBrake",
      type: "Warning",
      message: expect.stringContaining("2 of 3 hosts are silent") as string,
    });

    // One is back: the other is one of three, and out.
    hosts[0].resume();
    await expectReady(fleet.admin, "web", ["192.168.56.11:8080", "192.168.56.13:8080"]);
    expect(await reasonOf(fleet, "vm-1")).toBe("HeartbeatReceived");
  });

  test("a restart of the server takes nobody out", async () => {
    const { fleet } = await threeHosts();
    const { resourceVersion } = await fleet.admin.list("EndpointSlice");
    await fleet.restart();
    const nodes = await fleet.admin.list("Node");
    for (const { status } of nodes.items) expect(status.conditions).toMatchObject([{ type: "Ready", status: "True" }]);
    expect(Number(nodes.resourceVersion)).toBe(Number(resourceVersion));
  });

  test("a deleted host takes its workloads along", async () => {
    const { fleet } = await threeHosts();
    await fleet.admin.delete("Node", "vm-3");
    await expectReady(fleet.admin, "web", ["192.168.56.11:8080", "192.168.56.12:8080"]);
    await waitFor(async () => (await orUndefined(fleet.admin.get("Workload", "web-vm-3", inDefault))) === undefined, {
      what: "the workload to go",
    });
  });
});

describe("the end of a workload", () => {
  test("deleted, it drains for its grace period and then is gone", async () => {
    const fleet = await startFleet();
    const { admin } = fleet;
    await fleet.host("vm-1", "192.168.56.11");
    await admin.create("Service", aService("web"));
    await admin.create("Workload", aWorkload("web-1", "vm-1", { terminationGracePeriodSeconds: 1 }, "web"));
    await expectReady(admin, "web", ["192.168.56.11:8080"]);
    await admin.delete("Workload", "web-1", inDefault);
    await expectReady(admin, "web", []);
    expect((await endpointOf(admin, "web", "web-1"))?.conditions).toEqual({ ready: false, serving: true, terminating: true });
    await waitFor(async () => (await orUndefined(admin.get("Workload", "web-1", inDefault))) === undefined, {
      what: "it to be gone",
      timeoutMs: 4000,
    });
  });

  test("with a ttl it lives while it is renewed, and a restart of the server grants a fresh period", async () => {
    const fleet = await startFleet();
    const { admin } = fleet;
    const host = await fleet.host("vm-1", "192.168.56.11");
    await host.client.create("Workload", aWorkload("job", "vm-1", { ttl: "700ms" }));
    const renew = () => host.transport.send({ method: "POST", path: paths.renew("default", "job") });
    for (const end = performance.now() + 1500; performance.now() < end; await new Promise((resolve) => setTimeout(resolve, 100)))
      await renew();
    await fleet.restart();
    expect((await renew()).body).toEqual({ ttl: "700ms" });
    await waitFor(async () => (await orUndefined(admin.get("Workload", "job", inDefault))) === undefined, { what: "it to be gone" });
    await waitFor(async () => (await admin.list("Event")).items.some(({ reason }) => reason === "TtlExpired"), { what: "the Event" });
    await expect(renew()).rejects.toMatchObject({ code: "NotFound" });
  });
});

test("a ttl is renewed by who registers again, and not by the verdicts of its host", async () => {
  const fleet = await startFleet();
  const { admin } = fleet;
  const host = await fleet.host("vm-1", "192.168.56.11");
  const job = aWorkload("job", "vm-1", { ttl: "700ms", checks: [{ tcp: { port: 8080 } }] });
  await host.client.create("Workload", job);
  const isThere = async (): Promise<boolean> => (await orUndefined(admin.get("Workload", "job", inDefault))) !== undefined;
  for (const end = performance.now() + 1500; performance.now() < end; await new Promise((resolve) => setTimeout(resolve, 100)))
    await admin.replace("Workload", job, inDefault);
  expect(await isThere()).toBe(true);
  let turns = 0;
  await waitFor(
    async () => {
      const status = { ready: turns++ % 2 === 0 };
      return (await orUndefined(host.client.patch("Workload", "job", { status }, { ...inDefault, subresource: "status" }))) === undefined;
    },
    { what: "it to be gone", timeoutMs: 3000 },
  );
});

test("what is repeated is one Event with a count", async () => {
  const fleet = await startFleet();
  const host = await fleet.host("vm-1", "192.168.56.11");
  await fleet.host("vm-2", "192.168.56.12");
  for (let i = 0; i < 2; i++) {
    await host.silence();
    await waitFor(async () => (await fleet.admin.get("Node", "vm-1")).status.conditions.some(({ reason }) => reason === "HeartbeatLost"), {
      what: "vm-1 to be lost",
    });
    host.resume();
    await waitFor(async () => (await fleet.admin.get("Node", "vm-1")).status.conditions.some(({ status }) => status === "True"), {
      what: "vm-1 to be back",
    });
  }
  await waitFor(
    async () =>
      (await fleet.admin.list("Event")).items.some(
        ({ reason, count, involvedObject }) => reason === "NodeNotReady" && involvedObject.name === "vm-1" && count === 2,
      ),
    { what: "the count" },
  );
});
