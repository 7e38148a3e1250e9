import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { FleetStatus, JoinReply } from "#proto/agents.ts";
import { clientOver } from "#proto/client.ts";
import { parseJoinToken } from "#proto/join-token.ts";
import { ROUTED_CIDRS_ANNOTATION } from "#proto/node.ts";
import { paths } from "#proto/paths.ts";
import { waitFor } from "#test/wait-for.ts";
import { aService, aWorkload, cluster, joinCall, readyEndpoints, startFleet, type FleetServer } from "./fleet-server.ts";

test("a host joins with a token, gets a credential of its own, and is Ready with its first heartbeat", async () => {
  const fleet = await startFleet();
  const { token } = await fleet.token();
  const joiner = fleet.connect(token);
  const { body } = await joiner.send({ path: paths.ca });
  expect(String(body)).toContain("BEGIN CERTIFICATE");
  expect(new X509Certificate(String(body)).fingerprint256.replaceAll(":", "").toLowerCase()).toBe(parseJoinToken(token).caFingerprint);

  const reply = JoinReply.parse((await joiner.send(joinCall("vm-1", "192.168.56.11", { labels: { rack: "a" } }))).body);
  expect(reply).toMatchObject({ node: "vm-1", cluster: { ...cluster } });
  const node = await fleet.admin.get("Node", "vm-1");
  expect(node.metadata.labels).toEqual({ "kubernetes.io/hostname": "vm-1", rack: "a" });
  expect(node.status.addresses).toEqual([{ type: "InternalIP", address: "192.168.56.11" }]);
  expect(JSON.stringify(node)).not.toContain("machine-of-vm-1");

  const own = fleet.connect(reply.token);
  await own.send({ method: "POST", path: paths.heartbeat("vm-1"), body: { problems: ["ipset is missing"] } });
  await waitFor(async () => (await fleet.admin.get("Node", "vm-1")).status.conditions.some(({ status }) => status === "True"), {
    what: "Ready",
  });
  const status = FleetStatus.parse((await own.send({ path: paths.status })).body);
  expect(status.nodes).toMatchObject([{ name: "vm-1", ready: true, problems: ["ipset is missing"] }]);
});

test("before it joins a host may ask what the fleet's ranges are: that costs its token no use, and nobody else is answered", async () => {
  const fleet = await startFleet();
  const { token } = await fleet.token();
  const joiner = fleet.connect(token);
  const asked = [await joiner.send({ path: paths.cluster }), await joiner.send({ path: paths.cluster })];
  expect(asked.map(({ body }) => body)).toEqual([cluster, cluster]);
  await joiner.send(joinCall("vm-1", "192.168.56.11"));
  await expect(joiner.send({ path: paths.cluster })).rejects.toMatchObject({ code: "Unauthorized" });
  await expect(fleet.connect("nonsense").send({ path: paths.cluster })).rejects.toMatchObject({ code: "Unauthorized" });
});

test("a wrong, expired, used up or revoked token takes nobody in", async () => {
  const fleet = await startFleet();
  const used = await fleet.token();
  await fleet.connect(used.token).send(joinCall("vm-1", "192.168.56.11"));
  await expect(fleet.connect(used.token).send(joinCall("vm-2", "192.168.56.12"))).rejects.toMatchObject({
    code: "Unauthorized",
    message: "this join token has been used as often as it may be",
  });
  expect(await listed(fleet)).not.toContain(used.id);
  const short = await fleet.token({ ttlSeconds: 1 });
  await waitFor(() => Date.now() > Date.parse(short.expiresAt), { what: "the token to expire" });
  await expect(fleet.connect(short.token).send(joinCall("vm-2", "192.168.56.12"))).rejects.toThrow(/^this join token expired at /);
  const revoked = await fleet.token();
  await fleet.admin.transport.send({ method: "DELETE", path: paths.joinToken(revoked.id) });
  const wrong = revoked.token.replace(revoked.id, used.id);
  const rows: [string | undefined, RegExp][] = [
    [revoked.token, /^no such join token: .*make a new one with `fairlead token create`$/],
    [wrong, /^no such join token: /],
    ["fln.vm-1.nonsense", /^this host's credential is not \(or no longer\) known: join again with a new token$/],
    ["nonsense", /^send a valid credential/],
    [undefined, /^send a valid credential/],
  ];
  for (const [bearer, hint] of rows)
    await expect(fleet.connect(bearer).send(joinCall("vm-2", "192.168.56.12"))).rejects.toMatchObject({
      code: "Unauthorized",
      message: "Unauthorized",
      hint: expect.stringMatching(hint) as string,
    });
  expect((await fleet.admin.list("Node")).items).toHaveLength(1);
  const { body } = await fleet.admin.transport.send({ path: paths.joinTokens });
  expect(JSON.stringify(body)).not.toContain(parseJoinToken(used.token).secret);
});

async function listed(fleet: FleetServer): Promise<string> {
  return JSON.stringify((await fleet.admin.transport.send({ path: paths.joinTokens })).body);
}

test("of overlapping prefixes that hosts are given at the same moment one stands", async () => {
  const fleet = await startFleet();
  for (const i of [1, 2, 3]) await fleet.host(`vm-${i}`, `192.168.56.1${i}`);
  const { token } = await fleet.token();
  await Promise.all(Array.from({ length: 8 }, () => fleet.admin.list("Node"))); // connections for all of them
  const outcomes = await Promise.allSettled([
    ...[1, 2].map((i) => fleet.admin.patch("Node", `vm-${i}`, { spec: { podCIDRs: [`10.200.0.0/${16 + i}`] } })),
    fleet.admin.patch(
      "Node",
      "vm-3",
      { status: { addresses: [{ type: "InternalIP", address: "10.200.0.3" }] } },
      { subresource: "status" },
    ),
    fleet.admin.create("Node", { apiVersion: "v1", kind: "Node", metadata: { name: "vm-4" }, spec: { podCIDRs: ["10.200.0.0/20"] } }),
    fleet.connect(token).send(joinCall("vm-5", "192.168.56.15", { podCIDRs: ["10.200.0.0/21"] })),
  ]);
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
});

test("of hosts that join at the same moment with a one-use token one gets in", async () => {
  const fleet = await startFleet();
  const { token } = await fleet.token();
  const joins = [1, 2, 3, 4].map((i) => fleet.connect(token).send(joinCall(`vm-${i}`, `192.168.56.1${i}`)));
  const outcomes = await Promise.allSettled(joins);
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect((await fleet.admin.list("Node")).items).toHaveLength(1);
});

test("a name that another host holds is refused, the same host may join again, and its old credential ends", async () => {
  const fleet = await startFleet();
  const { token, id } = await fleet.token({ uses: 3 });
  const joiner = fleet.connect(token);
  const first = JoinReply.parse((await joiner.send(joinCall("vm-1", "192.168.56.11"))).body);
  const stranger = joinCall("vm-1", "192.168.56.12", { machineId: "another-machine" });
  await expect(joiner.send(stranger)).rejects.toMatchObject({ code: "Conflict", message: "the name vm-1 is held by another host" });
  const oldCredential = fleet.connect(first.token);
  const poll = oldCredential.send({ path: paths.changes, query: { since: 0, epoch: "x", timeoutMs: 1 } });
  await expect(poll).rejects.toMatchObject({ code: "Expired" });

  const second = JoinReply.parse((await joiner.send(joinCall("vm-1", "192.168.56.21"))).body);
  await expect(oldCredential.send({ path: paths.status })).rejects.toMatchObject({ code: "Unauthorized" });
  await fleet.connect(second.token).send({ path: paths.status });
  expect((await fleet.admin.get("Node", "vm-1")).status.addresses).toEqual([{ type: "InternalIP", address: "192.168.56.21" }]);

  // The refused join gave its use back.
  await joiner.send(joinCall("vm-2", "192.168.56.12"));
  await expect(joiner.send(joinCall("vm-3", "192.168.56.13"))).rejects.toMatchObject({ code: "Unauthorized" });
  expect(id).toMatch(/^[a-z0-9]{8}$/);

  await fleet.admin.delete("Node", "vm-1");
  const replacement = joinCall("vm-1", "192.168.56.31", { machineId: "another-machine" });
  await fleet.connect((await fleet.token()).token).send(replacement);
});

test("a clone does not take a live host's name: while the host is alive, who joins with it must have an address of it", async () => {
  const fleet = await startFleet();
  const joiner = fleet.connect((await fleet.token({ uses: 9 })).token);
  const host = await fleet.host("vm-1", "192.168.56.11");
  const clone = joinCall("vm-1", "192.168.56.12");
  await expect(joiner.send(clone)).rejects.toMatchObject({
    code: "Conflict",
    message: "the host vm-1 is alive at 192.168.56.11, and this one is at 192.168.56.12",
    hint: expect.stringMatching(/--name.*fairlead delete node vm-1.*stop its agent/) as string,
  });
  await host.beat();
  expect((await fleet.admin.get("Node", "vm-1")).status.addresses).toEqual([{ type: "InternalIP", address: "192.168.56.11" }]);
  // After a restart of the server nobody was heard of yet, and the clone may be the first.
  await host.silence();
  await fleet.restart();
  await expect(joiner.send(clone)).rejects.toMatchObject({ code: "Conflict" });

  host.resume();
  await waitFor(() => host.beat().then(() => true), { what: "the host to be heard of" });
  const two = [
    { type: "InternalIP", address: "10.9.9.9" },
    { type: "InternalIP", address: "192.168.56.11" },
  ];
  await joiner.send(joinCall("vm-1", "192.168.56.11", { addresses: two }));
  await expect(host.beat()).rejects.toMatchObject({ code: "Unauthorized" });

  // Dead, it may come back at another address.
  await host.silence();
  await waitFor(() => joiner.send(clone), { what: "the lease to run out" });
});

test("deleting a Node cuts off its host at once, also where it waits", async () => {
  const fleet = await startFleet();
  const host = await fleet.host("vm-1", "192.168.56.11");
  const status = FleetStatus.parse((await host.transport.send({ path: paths.status })).body);
  const waiting = host.transport.send({
    path: paths.changes,
    query: { since: status.revision, epoch: status.epoch, timeoutMs: 60_000, limit: 1 },
  });
  await waitFor(
    async () => String((await fleet.admin.transport.send({ path: paths.metrics })).body).includes("fairlead_long_polls_pending 1"),
    { what: "the poll to wait" },
  );
  await fleet.admin.delete("Node", "vm-1");
  await waiting;
  await expect(host.beat()).rejects.toMatchObject({ code: "Unauthorized" });
});

test("addresses and prefixes of hosts may not overlap each other's, nor the virtual range", async () => {
  const fleet = await startFleet();
  const joiner = fleet.connect((await fleet.token({ uses: 9 })).token);
  await joiner.send(joinCall("vm-1", "192.168.56.11", { podCIDRs: ["10.200.1.0/24"] }));
  const rows: [string, object, RegExp][] = [
    ["192.168.56.11", {}, /status\.addresses\[0\]\.address: .*is already the address of the host vm-1/],
    ["10.200.1.7", {}, /is in 10\.200\.1\.0\/24, which is behind the host vm-1/],
    ["10.96.3.4", {}, /may not be in the range of virtual addresses \(10\.96\.0\.0\/16\)/],
    ["127.0.0.1", {}, /may not be in the loopback range/],
    ["192.168.56.12", { podCIDRs: ["10.200.0.0/16"] }, /spec\.podCIDRs\[0\]: .*overlaps 10\.200\.1\.0\/24 of the host vm-1/],
    ["192.168.56.12", { podCIDRs: ["192.168.56.0/24"] }, /overlaps 192\.168\.56\.11 of the host vm-1/],
    ["192.168.56.12", { podCIDRs: ["10.96.4.0/24"] }, /overlaps the range of virtual addresses/],
    ["192.168.56.12", { podCIDRs: ["169.254.1.0/24"] }, /link-local/],
    ["192.168.56.12", { podCIDRs: ["126.0.0.0/7"] }, /may not overlap the loopback range/],
    ["192.168.56.12", { podCIDRs: ["10.1.2.3/24"] }, /must be a prefix/],
  ];
  for (const [address, more, message] of rows)
    await expect(joiner.send(joinCall("vm-2", address, more)), address).rejects.toMatchObject({
      code: "Invalid",
      message: expect.stringMatching(message) as string,
    });
  expect((await fleet.admin.list("Node")).items).toHaveLength(1);
  await joiner.send(joinCall("vm-2", "192.168.56.12", { podCIDRs: ["10.200.2.0/24"] }));
});

test("a host draws its own private networks to itself, the first one wins, and who leaves makes room", async () => {
  const fleet = await startFleet();
  const one = await fleet.host("vm-1", "192.168.56.11");
  const two = await fleet.host("vm-2", "192.168.56.12");
  const announce = (host: typeof one, name: string, cidr: string) =>
    host.client.patch("Node", name, { metadata: { annotations: { [ROUTED_CIDRS_ANNOTATION]: cidr } }, spec: { podCIDRs: [cidr] } });
  expect((await announce(one, "vm-1", "172.17.0.0/16")).spec).toMatchObject({ podCIDR: "172.17.0.0/16", podCIDRs: ["172.17.0.0/16"] });
  await expect(announce(two, "vm-2", "172.17.0.0/16")).rejects.toMatchObject({
    code: "Invalid",
    causes: [
      {
        field: "spec.podCIDRs[0]",
        message: expect.stringMatching(
          /overlaps 172\.17\.0\.0\/16 of the host vm-1; if it is Docker's: .*"default-address-pools"/,
        ) as string,
      },
    ],
  });
  await expect(announce(two, "vm-2", "8.8.8.0/24")).rejects.toMatchObject({
    causes: [{ field: `metadata.annotations[${ROUTED_CIDRS_ANNOTATION}][0]` }],
  });
  await expect(announce(two, "vm-1", "10.1.0.0/24")).rejects.toMatchObject({ code: "Forbidden" });
  await fleet.admin.delete("Node", "vm-1");
  await announce(two, "vm-2", "172.17.0.0/16");
});

test("podCIDR is the first of podCIDRs, whichever was written", async () => {
  const fleet = await startFleet();
  await fleet.host("vm-1", "192.168.56.11");
  const write = async (spec: object) => (await fleet.admin.patch("Node", "vm-1", { spec })).spec;
  expect(await write({ podCIDR: "10.1.0.0/24" })).toMatchObject({ podCIDRs: ["10.1.0.0/24"] });
  expect(await write({ podCIDRs: ["10.2.0.0/24", "fd00:2::/64"] })).toMatchObject({ podCIDR: "10.2.0.0/24" });
  expect((await write({ podCIDRs: [] })).podCIDR).toBeUndefined();
});

test("a host writes its own Workloads with its own addresses, and nothing else", async () => {
  const fleet = await startFleet();
  const one = await fleet.host("vm-1", "192.168.56.11", { podCIDRs: ["10.200.1.0/24"] });
  const two = await fleet.host("vm-2", "192.168.56.12");
  const { client } = one;
  const made = await client.create("Workload", aWorkload("web-1", "vm-1"));
  expect(made.spec.address).toBe("192.168.56.11");
  await client.create("Workload", aWorkload("web-2", "vm-1", { address: "10.200.1.9" }));
  await two.client.create("Workload", aWorkload("web-3", "vm-2"));
  await client.patch("Workload", "web-1", { status: { ready: true } }, { namespace: "default", subresource: "status" });

  const forbidden: [string, Promise<unknown>][] = [
    ["another host's workload", client.create("Workload", aWorkload("x", "vm-2"))],
    ["moving its own to another host", client.patch("Workload", "web-1", { spec: { node: "vm-2" } }, { namespace: "default" })],
    ["taking over another host's", client.patch("Workload", "web-3", { spec: { node: "vm-1" } }, { namespace: "default" })],
    [
      "the status of another host's",
      client.patch("Workload", "web-3", { status: { ready: false } }, { namespace: "default", subresource: "status" }),
    ],
    ["deleting another host's", client.delete("Workload", "web-3", { namespace: "default" })],
    ["renewing another host's", one.transport.send({ method: "POST", path: paths.renew("default", "web-3") })],
    ["a Service", client.create("Service", aService("web"))],
    [
      "an EndpointSlice",
      client.create("EndpointSlice", {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { name: "x", namespace: "default" },
        addressType: "IPv4",
      }),
    ],
    ["another host's Node", client.patch("Node", "vm-2", { spec: { unschedulable: true } })],
    ["its own Node's end", client.delete("Node", "vm-1")],
    ["another host's heartbeat", one.transport.send({ method: "POST", path: paths.heartbeat("vm-2"), body: {} })],
    ["join tokens", one.transport.send({ method: "POST", path: paths.joinTokens, body: {} })],
  ];
  for (const [what, call] of forbidden) await expect(call, what).rejects.toMatchObject({ code: "Forbidden" });
  for (const address of ["192.168.56.12", "10.200.2.9", "8.8.8.8"])
    await expect(client.create("Workload", aWorkload("x", "vm-1", { address }))).rejects.toThrow(
      /spec\.address: .*is not an address of the host vm-1 \(192\.168\.56\.11, 10\.200\.1\.0\/24\)/,
    );
  const onBridge = await client.create("Workload", aWorkload("on-bridge", "vm-1", { address: "172.17.0.2", reach: "Node" }));
  expect(onBridge.spec.reach).toBe("Node");
  await expect(
    client.patch("Workload", "on-bridge", { spec: { reach: "Fleet" } }, { namespace: "default" }),
    "an address that is not its own, to all",
  ).rejects.toThrow(/is not an address of the host/);
  await client.patch(
    "Node",
    "vm-1",
    {
      status: {
        conditions: [
          { type: "Ready", status: "False" },
          { type: "DiskPressure", status: "False" },
        ],
      },
    },
    { subresource: "status" },
  );
  const { conditions } = (await fleet.admin.get("Node", "vm-1")).status;
  expect(conditions.map(({ type, status }) => `${type}=${status}`).toSorted()).toEqual(["DiskPressure=False", "Ready=True"]);
});

test("receipts: a change is live when every Ready host says so, and who is late is named", async () => {
  const fleet = await startFleet();
  const [one, two] = [await fleet.host("vm-1", "192.168.56.11"), await fleet.host("vm-2", "192.168.56.12")];
  await fleet.admin.create("Workload", aWorkload("web-1", "vm-1", {}, "web"));
  const service = await fleet.admin.create("Service", aService("web"));
  const revision = Number(service.metadata.resourceVersion);

  const early = await fleet.waitFor(revision, 100);
  expect(early.done).toBe(false);
  // The controllers' own write follows from the Service, and counts too.
  expect(early.revision).toBeGreaterThan(revision);
  expect(await readyEndpoints(fleet.admin, "web")).toEqual(["192.168.56.11:8080"]);

  await one.beat({ applied: early.revision });
  const waiting = fleet.waitFor(revision, 10_000);
  await two.beat({ applied: early.revision - 1 });
  await two.beat({ applied: early.revision });
  const reply = await waiting;
  expect(reply.done).toBe(true);
  expect(reply.nodes).toMatchObject([
    { name: "vm-1", ready: true, applied: early.revision },
    { name: "vm-2", ready: true, applied: early.revision },
  ]);
  for (const { tookMs } of reply.nodes) expect(tookMs).toBeGreaterThanOrEqual(0);
  await expect(fleet.waitFor(revision + 10_000, 100)).rejects.toThrow("has not happened yet");
  const metrics = await fleet.admin.transport.send({ path: paths.metrics });
  expect(String(metrics.body)).toMatch(/fairlead_convergence_seconds_count [1-9]/);
});

test("a host that dies is not waited for", async () => {
  const fleet = await startFleet();
  const [one, two] = [await fleet.host("vm-1", "192.168.56.11"), await fleet.host("vm-2", "192.168.56.12")];
  await fleet.host("vm-3", "192.168.56.13").then((host) => host.beat({ applied: 1 }));
  await fleet.host("vm-4", "192.168.56.14");
  const { metadata } = await fleet.admin.create("Service", aService("web"));
  const waiting = fleet.waitFor(Number(metadata.resourceVersion), 20_000);
  await two.silence();
  await waitFor(async () => (await fleet.admin.get("Node", "vm-2")).status.conditions.some(({ reason }) => reason === "HeartbeatLost"), {
    what: "vm-2 to be lost",
  });
  const status = FleetStatus.parse((await one.transport.send({ path: paths.status })).body);
  for (const name of ["vm-1", "vm-3", "vm-4"])
    await fleet.admin.transport.send({ method: "POST", path: paths.heartbeat(name), body: { applied: status.revision } });
  const reply = await waiting;
  expect(reply.done).toBe(true);
  expect(reply.nodes.find(({ name }) => name === "vm-2")).toMatchObject({ ready: false });
});

test("a client without a credential gets the authority's certificate and nothing else of the fleet", async () => {
  const fleet = await startFleet();
  const nobody = clientOver(fleet.connect(undefined));
  await expect(nobody.list("Node")).rejects.toMatchObject({ code: "Unauthorized" });
  await expect(nobody.transport.send({ path: paths.status })).rejects.toMatchObject({ code: "Unauthorized" });
  expect((await nobody.transport.send({ path: paths.ca })).status).toBe(200);
});
