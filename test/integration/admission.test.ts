import fc from "fast-check";
import { expect, test } from "vitest";
import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import { parseObject } from "#proto/parse.ts";
import { isHeadless } from "#proto/service.ts";
import { createAdmission } from "#server/admission/admit.ts";
import { serviceClaims } from "#server/admission/service.ts";
import type { Identity } from "#server/trust/identity.ts";
import { admin, aDesk, aNode, aService, dual, facts, refusal } from "./admission-desk.ts";

const inRange = (text: string | undefined, cidr: string): boolean => {
  const [range, ip] = [parseCidr(cidr), parseIp(text ?? "")];
  return range !== undefined && ip !== undefined && contains(range, ip);
};

test("a service gets an address of the range and Kubernetes' defaults", async () => {
  const desk = await aDesk();
  const { spec } = await desk.create("web");
  expect(inRange(spec.clusterIP, "10.96.0.0/24")).toBe(true);
  expect(spec).toMatchObject({
    clusterIPs: [spec.clusterIP],
    ipFamilies: ["IPv4"],
    ipFamilyPolicy: "SingleStack",
    internalTrafficPolicy: "Cluster",
    sessionAffinity: "None",
    type: "ClusterIP",
    ports: [{ port: 80, protocol: "TCP", targetPort: 80 }],
  });
  expect(spec).not.toHaveProperty("externalTrafficPolicy");
  expect(desk.warnings).toEqual([]);
});

test("every address of the range is given out once, never the network's, the broadcast's or the DNS service's, and then it says so", async () => {
  const desk = await aDesk();
  const services = await Promise.all(Array.from({ length: 253 }, (_, i) => desk.create(`s${i}`)));
  const ips = new Set(services.map(({ spec }) => spec.clusterIP));
  expect(ips.size).toBe(253);
  for (const ip of ["10.96.0.0", "10.96.0.10", "10.96.0.255"]) expect(ips.has(ip)).toBe(false);
  await expect(desk.create("one-more")).rejects.toThrow("no address is left in the range of virtual addresses 10.96.0.0/24");

  const [first] = services;
  await desk.store.transact([{ op: "delete", key: { kind: "Service", namespace: "default", name: "s0" } }]);
  expect((await desk.create("one-more")).spec.clusterIP).toBe(first?.spec.clusterIP);
});

test("a deleted service's address is not given out again soon, and a restart knows what is taken", async () => {
  const desk = await aDesk();
  const kept = await desk.create("kept");
  const { spec } = await desk.create("gone");
  await desk.store.transact([{ op: "delete", key: { kind: "Service", namespace: "default", name: "gone" } }]);
  for (let i = 0; i < 100; i++) expect((await desk.create(`s${i}`)).spec.clusterIP).not.toBe(spec.clusterIP);
  const again = await createAdmission({ store: desk.store, cluster: facts });
  const { object } = await again.admit({
    kind: "Service",
    operation: "create",
    identity: admin,
    previous: undefined,
    next: aService("new"),
  });
  expect(object.spec.clusterIP).not.toBe(kept.spec.clusterIP);
});

test("an address that the user chose: free, taken, outside, reserved, or not the one that it has", async () => {
  const desk = await aDesk();
  expect((await desk.create("web", { clusterIP: "10.96.0.77" })).spec.clusterIPs).toEqual(["10.96.0.77"]);
  const rows: [string, RegExp][] = [
    [
      "10.96.0.77",
      /^Invalid spec\.clusterIPs: Invalid value: \["10\.96\.0\.77"\]: failed to allocate IP 10\.96\.0\.77: provided IP is already allocated$/,
    ],
    ["10.97.0.1", /failed to allocate IP 10\.97\.0\.1: the provided network does not match the current range 10\.96\.0\.0\/24/],
    ["fd00::1", /failed to allocate IP fd00::1|not configured on this cluster/],
    ["10.96.0.10", /it is the address of the DNS service/],
    ["10.96.0.0", /it is the address of the network itself/],
    ["10.96.0.255", /it is the address of the network itself/],
  ];
  for (const [clusterIP, message] of rows) expect(await refusal(desk.create("other", { clusterIP })), clusterIP).toMatch(message);
  expect(await refusal(desk.update("web", { clusterIP: "10.96.0.78", clusterIPs: ["10.96.0.78"] }))).toBe(
    'Invalid spec.clusterIPs[0]: Invalid value: ["10.96.0.78"]: may not change once set',
  );
  expect(await refusal(desk.update("web", { clusterIP: "None", clusterIPs: ["None"] }))).toContain("may not change once set");
});

test("an update that leaves the address out keeps it, and a headless service stays headless", async () => {
  const desk = await aDesk();
  const { spec } = await desk.create("web");
  const updated = await desk.put<"Service">(aService("web", { ports: [{ port: 81 }] }));
  expect(updated.spec.clusterIPs).toEqual(spec.clusterIPs);
  expect((await desk.create("headless", { clusterIP: "None", ports: [] })).spec).toMatchObject({ clusterIP: "None", clusterIPs: ["None"] });
  expect((await desk.put<"Service">(aService("headless"))).spec.clusterIP).toBe("None");
  expect(await refusal(desk.update("headless", { type: "NodePort" }))).toContain("may not be set to 'None' for NodePort services");
  expect(await refusal(desk.put<"Service">(aService("headless", { type: "LoadBalancer" })))).toBe(
    "Invalid spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
  );
  expect(await desk.store.claims("ip/")).toEqual([`ip/${spec.clusterIP ?? ""}`]);
});

test("changing to ExternalName lets go of addresses and ports, and back again gets others", async () => {
  const desk = await aDesk();
  const { spec } = await desk.create("web", { type: "NodePort" });
  const external = await desk.update("web", { type: "ExternalName", externalName: "example.com" });
  expect(external.spec).not.toHaveProperty("clusterIP");
  expect(external.spec).not.toHaveProperty("ports.0.nodePort");
  expect([...(await desk.store.claims("ip/")), ...(await desk.store.claims("nodeport/"))]).toEqual([]);
  expect((await desk.update("web", { type: "ClusterIP", externalName: null })).spec.clusterIP).not.toBe(spec.clusterIP);
  expect(await refusal(desk.create("x", { type: "ExternalName", externalName: "example.com", clusterIP: "10.96.0.5" }))).toMatch(
    /spec\.clusterIPs: Forbidden: .*may not be set for ExternalName services/,
  );
});

test("two families when configured and asked for; one can be added and given back", async () => {
  const desk = await aDesk(dual);
  expect((await desk.create("one")).spec.ipFamilies).toEqual(["IPv4"]);
  const both = await desk.create("both", { ipFamilyPolicy: "PreferDualStack" });
  expect(both.spec.ipFamilies).toEqual(["IPv4", "IPv6"]);
  expect(inRange(both.spec.clusterIPs?.[1], "fd00:96::/112")).toBe(true);
  expect((await desk.create("six", { ipFamilies: ["IPv6"] })).spec.clusterIP).toMatch(/^fd00:96::/);
  expect((await desk.create("chosen", { clusterIP: "fd00:96:0::0007" })).spec).toMatchObject({
    clusterIP: "fd00:96::7",
    ipFamilies: ["IPv6"],
  });
  const first = (await desk.update("both", { ipFamilyPolicy: "SingleStack" })).spec;
  expect(first).toMatchObject({ clusterIPs: [both.spec.clusterIP], ipFamilies: ["IPv4"] });
  expect((await desk.update("both", { ipFamilyPolicy: "RequireDualStack" })).spec.clusterIPs).toHaveLength(2);

  const single = await aDesk();
  expect((await single.create("prefers", { ipFamilyPolicy: "PreferDualStack" })).spec.ipFamilies).toEqual(["IPv4"]);
  expect(await refusal(single.create("x", { ipFamilyPolicy: "RequireDualStack" }))).toMatch(
    /spec\.ipFamilyPolicy: .*not configured for dual-stack/,
  );
  expect(await refusal(single.create("x", { ipFamilies: ["IPv6"] }))).toMatch(
    /spec\.ipFamilies\[0\]: Invalid value: "IPv6": not configured on this cluster/,
  );
});

test("node ports: allocated, chosen, kept over updates, refused when taken or outside, and given back with the type", async () => {
  const desk = await aDesk();
  const ports = [
    { name: "a", port: 80 },
    { name: "dns", port: 53 },
    { name: "dns-udp", port: 53, protocol: "UDP" },
  ];
  const made = await desk.create("web", { type: "NodePort", ports });
  const [a, dns, dnsUdp] = made.spec.ports.map(({ nodePort }) => nodePort);
  expect(a).not.toBe(dns);
  expect(dns).toBe(dnsUdp);
  expect(made.spec.externalTrafficPolicy).toBe("Cluster");
  expect(desk.warnings).toEqual([]);
  const again = await desk.put<"Service">(aService("web", { type: "NodePort", ports: ports.toReversed() }));
  expect(again.spec.ports.map(({ nodePort }) => nodePort)).toEqual([dnsUdp, dns, a]);

  expect(await refusal(desk.create("x", { type: "NodePort", ports: [{ port: 1, nodePort: a }] }))).toContain(
    `spec.ports[0].nodePort: Invalid value: ${a}: provided port is already allocated`,
  );
  expect(await refusal(desk.create("x", { type: "NodePort", ports: [{ port: 1, nodePort: 80 }] }))).toContain(
    "provided port is not in the valid range. The range of valid ports is 30000-30099",
  );
  expect(await refusal(desk.create("x", { ports: [{ port: 1, nodePort: 30_050 }] }))).toContain(
    "may not be used when `type` is 'ClusterIP'",
  );
  const inside = await desk.update("web", { type: "ClusterIP" });
  expect(inside.spec.ports.every((port) => port.nodePort === undefined)).toBe(true);
  expect(inside.spec).not.toHaveProperty("externalTrafficPolicy");
  expect(await desk.store.claims("nodeport/")).toEqual([]);
  expect((await desk.create("x", { type: "NodePort", ports: [{ port: 1, nodePort: a }] })).spec.ports[0]?.nodePort).toBe(a);
});

test("an external address may not be a host's or a virtual one", async () => {
  const desk = await aDesk();
  await desk.put<"Node">(aNode("vm-1", "192.168.56.11"));
  expect(await refusal(desk.create("x", { externalIPs: ["192.168.56.11"] }))).toMatch(
    /spec\.externalIPs\[0\]: .*is the address of the host vm-1/,
  );
  expect(await refusal(desk.create("x", { externalIPs: ["192.0.2.1", "10.96.0.10"] }))).toMatch(
    /spec\.externalIPs\[1\]: .*virtual addresses/,
  );
  await desk.create("x", { externalIPs: ["192.0.2.1"] });
  expect(desk.warnings).toEqual([]);
});

test("a workload: on a Node that is there, at a real address, without commands", async () => {
  const desk = await aDesk();
  await desk.put<"Node">(aNode("vm-1", "192.168.56.11"));
  await desk.put<"Node">(aNode("bare"));
  const workload = (spec: object) =>
    desk.put<"Workload">(
      parseObject("Workload", {
        apiVersion: "fairlead.dev/v1",
        kind: "Workload",
        metadata: { name: "w", namespace: "default" },
        spec: { node: "vm-1", ...spec },
      }),
    );
  const rows: [object, RegExp][] = [
    [{ node: "vm-9" }, /^Invalid spec\.node: Invalid value: "vm-9": there is no Node of this name/],
    [{ address: "10.96.0.10" }, /spec\.address: .*range of virtual addresses \(10\.96\.0\.0\/24\)/],
    [{ node: "bare" }, /spec\.address: Required value: the Node bare has no address/],
    [{ checks: [{ exec: { command: ["true"] } }] }, /spec\.checks\[0\]\.exec: Forbidden: commands are taken only from files/],
  ];
  for (const [spec, message] of rows) expect(await refusal(workload(spec))).toMatch(message);
  expect((await workload({})).spec.address).toBe("192.168.56.11");
});

test("an endpoint is at a real address on every way that writes one", async () => {
  const desk = await aDesk();
  const slice = (address: string, metadata: object = {}) =>
    desk.put<"EndpointSlice">(
      parseObject("EndpointSlice", {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { name: "s", namespace: "default", ...metadata },
        addressType: "IPv4",
        endpoints: [{ addresses: [address] }],
      }),
    );
  expect(await refusal(slice("10.96.0.33"))).toMatch(/endpoints\[0\]\.addresses\[0\]: .*virtual addresses/);
  for (const address of ["127.0.0.1", "169.254.169.254", "224.0.0.1"]) expect(() => slice(address)).toThrow("endpoints[0].addresses[0]");
  expect(await refusal(slice("192.168.56.50", { labels: { "endpointslice.kubernetes.io/managed-by": "endpoints.fairlead.dev" } }))).toMatch(
    /^Forbidden/,
  );
  await slice("192.168.56.50");
});

test("an Event has bounds, and a host signs its own", async () => {
  const desk = await aDesk();
  const event = (extra: object) =>
    parseObject("Event", {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: "e", namespace: "default" },
      involvedObject: {},
      source: { host: "vm-2" },
      ...extra,
    });
  expect(await refusal(desk.put<"Event">(event({ note: "x".repeat(9000) })))).toMatch(/must be no more than 8192 bytes/);
  const identity: Identity = { kind: "node", name: "vm-1" };
  const tell = (extra: object) =>
    desk.admission.admit({ kind: "Event", operation: "create", identity, previous: undefined, next: event(extra) });
  const { object } = await tell({ involvedObject: { kind: "Node", name: "vm-1" } });
  expect(object.source).toEqual({ host: "vm-1" });
  for (const [name, node, address] of [
    ["mine", "vm-1", "192.168.56.11"],
    ["theirs", "vm-2", "192.168.56.12"],
  ] as const) {
    await desk.put<"Node">(aNode(node, address));
    await desk.put<"Workload">(
      parseObject("Workload", {
        apiVersion: "fairlead.dev/v1",
        kind: "Workload",
        metadata: { name, namespace: "default" },
        spec: { node },
      }),
    );
  }
  await tell({ involvedObject: { kind: "Workload", namespace: "default", name: "mine" } });
  for (const extra of [
    {},
    { involvedObject: { kind: "Node", name: "vm-2" } },
    { involvedObject: { kind: "Service", name: "web" } },
    { involvedObject: { kind: "Workload", name: "theirs" } },
    { involvedObject: { kind: "Workload", name: "gone" } },
    { involvedObject: { kind: "Workload", namespace: "other", name: "mine" } },
    { involvedObject: { kind: "Node", name: "vm-1" }, metadata: { name: "e", namespace: "fairlead-system" } },
  ])
    await expect(tell(extra), JSON.stringify(extra)).rejects.toMatchObject({
      code: "Forbidden",
      message: expect.stringContaining("cannot create what is about") as string,
    });
});

test("the DNS service's address cannot be one that a service got under an earlier configuration", async () => {
  const desk = await aDesk();
  await desk.create("web", { clusterIP: "10.96.0.20" });
  await expect(createAdmission({ store: desk.store, cluster: { ...facts, dnsIps: ["10.96.0.20"] } })).rejects.toThrow(
    "the DNS service cannot have the address 10.96.0.20: the service default/web holds it",
  );
});

test("whatever is created, changed and deleted at once: no address or port is held twice, and what is held is what the services say", async () => {
  const aStep = fc.record({
    name: fc.constantFrom("a", "b", "c", "d"),
    what: fc.constantFrom("put", "put", "delete"),
    spec: fc.constantFrom<object>(
      {},
      { type: "NodePort" },
      { clusterIP: "None", type: "ClusterIP" },
      { type: "ExternalName", externalName: "example.com" },
      { clusterIP: "10.96.0.20" },
      { type: "NodePort", ports: [{ port: 80, nodePort: 30_005 }] },
      { type: "LoadBalancer" },
      { type: "LoadBalancer", externalTrafficPolicy: "Local", allocateLoadBalancerNodePorts: false },
      {
        type: "LoadBalancer",
        loadBalancerIP: "192.0.2.1",
        ports: [{ port: 80 }, { port: 53, protocol: "UDP" }].map((port, i) => ({ name: `p${i}`, ...port })),
      },
      { externalIPs: ["192.0.2.1", "192.0.2.9"] },
      { externalIPs: ["192.0.2.9"], ports: [{ port: 81 }] },
    ),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(aStep, { maxLength: 4 }), { maxLength: 8 }), async (rounds) => {
      const desk = await aDesk({ ...facts, nodePortRange: { from: 30_000, to: 30_005 } }, { loadBalancerCidrs: ["192.0.2.0/31"] });
      for (const round of rounds)
        await Promise.allSettled(
          round.map(async ({ name, what, spec }) => {
            if (what === "delete") await desk.store.transact([{ op: "delete", key: { kind: "Service", namespace: "default", name } }]);
            else await desk.put<"Service">(aService(name, spec));
          }),
        );
      const held = await desk.store.claims("");
      const services = (await desk.store.list({ kind: "Service" })).items.filter((object) => object.kind === "Service");
      const said = services.flatMap(serviceClaims);
      const balancers = services.flatMap(({ metadata, status }) =>
        (status.loadBalancer.ingress ?? []).map(({ ip }) => [ip, metadata.name] as const),
      );
      // A headless service is nowhere but in the DNS: what it says of addresses from outside is kept and means nothing.
      const reachable = services.filter((service) => !isHeadless(service) && service.spec.type !== "ExternalName");
      for (const [ip, name] of balancers)
        for (const { metadata, spec } of reachable) if (metadata.name !== name) expect(spec.externalIPs ?? []).not.toContain(ip);
      expect(services.every(({ spec }) => !needsNodePorts(spec) || spec.ports.every(({ nodePort }) => nodePort !== undefined))).toBe(true);
      expect(held.toSorted()).toEqual(said.toSorted());
    }),
    { numRuns: 40 },
  );
});

function needsNodePorts({ type, allocateLoadBalancerNodePorts }: ReturnType<typeof aService>["spec"]): boolean {
  return type === "NodePort" || (type === "LoadBalancer" && allocateLoadBalancerNodePorts !== false);
}
