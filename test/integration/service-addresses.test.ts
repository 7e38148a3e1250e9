import { expect, test } from "vitest";
import { parse } from "yaml";
import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import { waitFor } from "#test/wait-for.ts";
import { startApi, type ApiServer, type RawAnswer } from "./api-server.ts";
import { joinCall, startFleet } from "./fleet-server.ts";

/** Addresses of services from outside the ranges of virtual IPs: who may have which, over real HTTP and a real store. */

const SERVICES = "/api/v1/namespaces/default/services";
const MERGE = { "content-type": "application/merge-patch+json" };
const POOL = { loadBalancerCidrs: ["192.0.2.240/30"] };
const dual = { cluster: { serviceCidrs: ["10.96.0.0/16", "fd00:96::/112"], dnsIps: ["10.96.0.10", "fd00:96::a"] } };

type Send = ApiServer["send"];
type Ingress = { readonly ip?: string; readonly ipMode?: string; readonly hostname?: string };

function aService(name: string, spec: object = {}, annotations: object = {}): object {
  return { metadata: { name, annotations }, spec: { selector: { app: name }, ports: [{ port: 80 }], ...spec } };
}

const balancer = (more: object = {}): object => ({ type: "LoadBalancer", ...more });
const create = (send: Send, name: string, spec?: object, annotations?: object): Promise<RawAnswer> =>
  send({ method: "POST", path: SERVICES, body: aService(name, spec, annotations) });
const patch = (send: Send, name: string, body: object, subresource = ""): Promise<RawAnswer> =>
  send({ method: "PATCH", path: `${SERVICES}/${name}${subresource}`, body, headers: MERGE });
const setIngress = (send: Send, name: string, ingress: readonly Ingress[] | null): Promise<RawAnswer> =>
  patch(send, name, { status: { loadBalancer: { ingress } } }, "/status");

function ingressOf({ json }: RawAnswer): readonly Ingress[] {
  return (json.status as { loadBalancer: { ingress?: readonly Ingress[] } }).loadBalancer.ingress ?? [];
}
const ipsOf = (answer: RawAnswer): (string | undefined)[] => ingressOf(answer).map(({ ip }) => ip);

function warningsOf({ headers }: RawAnswer): string {
  return [headers["warning"] ?? []].flat().join("\n").replaceAll("\\", "");
}

/** The field and the reason of the only fault; the refusal changed nothing. */
async function refusal({ store }: ApiServer, attempt: () => Promise<RawAnswer>): Promise<string> {
  const before = store.revision;
  const { status, json } = await attempt();
  expect(store.revision).toBe(before);
  expect(json.details?.causes, json.message).toHaveLength(1);
  const [cause] = json.details?.causes ?? [];
  return `${status} ${cause?.reason ?? ""} ${cause?.field ?? ""}: ${cause?.message ?? ""}`;
}

/** A Node as its agent writes it. */
async function aHost({ client }: ApiServer, name: string, addresses: readonly string[], podCIDRs: readonly string[] = []): Promise<void> {
  await client.create("Node", { apiVersion: "v1", kind: "Node", metadata: { name }, spec: { podCIDRs: [...podCIDRs] } });
  await client.patch("Node", name, { status: { addresses: internal(addresses) } }, { subresource: "status" });
}

function internal(addresses: readonly string[]): object[] {
  return addresses.map((address) => ({ type: "InternalIP", address }));
}

test("Kubernetes' own manifest of a load balancer works as it is; without a pool it waits for an address, and says so", async () => {
  const api = await startApi();
  const manifest = parse(`
    apiVersion: v1
    kind: Service
    metadata:
      name: my-service
    spec:
      selector:
        app.kubernetes.io/name: MyApp
      ports:
        - protocol: TCP
          port: 80
          targetPort: 9376
      clusterIP: 10.96.171.239
      type: LoadBalancer
    status:
      loadBalancer:
        ingress:
        - ip: 192.0.2.127
  `) as object;
  const made = await api.send({ method: "POST", path: SERVICES, body: manifest });
  expect(made.status).toBe(201);
  expect(made.json.spec).toMatchObject({
    clusterIP: "10.96.171.239",
    externalTrafficPolicy: "Cluster",
    allocateLoadBalancerNodePorts: true,
  });
  expect(made.json.status).toEqual({ loadBalancer: {} });
  expect(warningsOf(made)).toContain("no address is given out, as the server has no --load-balancer-cidr");
});

test("a pool gives each load balancer an address, keeps it over updates and restarts, and takes it back", async () => {
  const api = await startApi(POOL);
  const { send } = api;
  const all = await Promise.all(["a", "b", "c", "d"].map((name) => create(send, name, balancer())));
  expect(all.map(warningsOf).join("")).toBe("");
  expect(all.flatMap(ipsOf).toSorted()).toEqual(["192.0.2.240", "192.0.2.241", "192.0.2.242", "192.0.2.243"]);
  expect(all.flatMap(ingressOf).every(({ ipMode }) => ipMode === "VIP")).toBe(true);

  const fifth = await create(send, "e", balancer());
  expect([fifth.status, ipsOf(fifth)]).toEqual([201, []]);
  expect(warningsOf(fifth)).toContain("no address is left in 192.0.2.240/30");

  const a = ipsOf(await patch(send, "a", { spec: { ports: [{ port: 81 }] }, metadata: { labels: { x: "y" } } }));
  expect(a).toEqual(all[0] && ipsOf(all[0]));
  // Leaving the type lets go of it.
  const left = await patch(send, "a", { spec: { type: "ClusterIP" } });
  expect(left.json.status).toEqual({ loadBalancer: {} });
  expect(ipsOf(await patch(send, "e", { metadata: { labels: { x: "y" } } }))).toEqual(a);
  await send({ method: "DELETE", path: `${SERVICES}/b` });
  expect(ipsOf(await create(send, "f", balancer()))).toEqual(all[1] && ipsOf(all[1]));
  expect(await api.store.claims("load-balancer/")).toHaveLength(4);
});

test("each family gets an address of its pool, and lets go of it with the family", async () => {
  const api = await startApi({ ...dual, loadBalancerCidrs: ["192.0.2.240/30", "fd00:200::/120"] });
  const { send } = api;
  const made = await create(send, "web", balancer({ ipFamilyPolicy: "PreferDualStack" }));
  const [four, six] = ipsOf(made);
  for (const [ip, range] of [
    [four, "192.0.2.240/30"],
    [six, "fd00:200::/120"],
  ]) {
    const [cidr, parsed] = [parseCidr(range ?? ""), parseIp(ip ?? "")];
    expect(cidr && parsed && contains(cidr, parsed), `${ip} in ${range}`).toBe(true);
  }
  expect(ipsOf(await patch(send, "web", { spec: { ipFamilyPolicy: "SingleStack" } }))).toEqual([four]);
  expect(await api.store.claims("load-balancer/")).toEqual([`load-balancer/${four ?? ""}`]);
  const again = await patch(send, "web", { spec: { ipFamilyPolicy: "RequireDualStack" } });
  expect(ipsOf(again)).toHaveLength(2);
  expect(again.json.spec["clusterIPs"]).toHaveLength(2);
});

test("an address that was asked for is given, changed and taken away with the wish; the annotation names two", async () => {
  const api = await startApi({ ...dual, ...POOL });
  const { send } = api;
  expect(ipsOf(await create(send, "web", balancer({ loadBalancerIP: "198.51.100.7" })))).toEqual(["198.51.100.7"]);
  expect(ipsOf(await patch(send, "web", { spec: { loadBalancerIP: "198.51.100.8" } }))).toEqual(["198.51.100.8"]);
  expect(ipsOf(await create(send, "second", balancer({ loadBalancerIP: "198.51.100.7" })))).toEqual(["198.51.100.7"]);
  // Without a wish it is the pool's turn; one of the pool's that was wished for may stay.
  const [given] = ipsOf(await patch(send, "web", { spec: { loadBalancerIP: null } }));
  expect(given).toMatch(/^192\.0\.2\.24/);
  await patch(send, "web", { spec: { loadBalancerIP: given } });
  expect(ipsOf(await patch(send, "web", { spec: { loadBalancerIP: null } }))).toEqual([given]);

  const both = { "fairlead.dev/load-balancer-ips": "198.51.100.9, FD00:200::0009" };
  const made = await create(send, "both", balancer({ ipFamilyPolicy: "RequireDualStack" }), both);
  expect(ipsOf(made)).toEqual(["198.51.100.9", "fd00:200::9"]);
  expect(await refusal(api, () => create(send, "six", balancer({ loadBalancerIP: "fd00:200::5" })))).toBe(
    '422 FieldValueInvalid spec.loadBalancerIP: Invalid value: "fd00:200::5": the service has no IPv6 address of its own (spec.ipFamilies)',
  );
  expect(
    await refusal(api, () =>
      create(send, "odd", balancer({ loadBalancerIP: "198.51.100.10" }), { "fairlead.dev/load-balancer-ips": "198.51.100.9" }),
    ),
  ).toContain("names another IPv4 address than spec.loadBalancerIP (198.51.100.10)");
  expect(warningsOf(await create(send, "inside", { loadBalancerIP: "198.51.100.11" }))).toContain(
    "spec.loadBalancerIP is ignored when spec.type is not LoadBalancer",
  );
});

test("a status that somebody set by hand counts as if the server had given it", async () => {
  const api = await startApi();
  const { send } = api;
  await create(send, "web", balancer());
  const set = await setIngress(send, "web", [
    { ip: "198.51.100.7" },
    { hostname: "lb.example.com" },
    { ip: "203.0.113.1", ipMode: "Proxy" },
  ]);
  expect(ingressOf(set)).toEqual([
    { ip: "198.51.100.7", ipMode: "VIP" },
    { hostname: "lb.example.com" },
    { ip: "203.0.113.1", ipMode: "Proxy" },
  ]);
  expect(await api.store.claims("load-balancer/")).toEqual(["load-balancer/198.51.100.7"]);
  expect(ingressOf(await patch(send, "web", { spec: { ports: [{ port: 81 }] } }))).toHaveLength(3);
  expect(await refusal(api, () => create(send, "x", balancer({ loadBalancerIP: "198.51.100.7" })))).toBe(
    '422 FieldValueInvalid spec.loadBalancerIP: Invalid value: "198.51.100.7": is already the load balancer address of the service default/web',
  );
  await create(send, "x", balancer());
  await create(send, "inside");
  const rows: [string, Ingress[], RegExp][] = [
    [
      "x",
      [{ ip: "198.51.100.7" }],
      /^422 FieldValueInvalid status\.loadBalancer\.ingress\[0\]\.ip: .*is already the load balancer address of/,
    ],
    ["x", [{ ip: "198.51.100.9" }, { ip: "198.51.100.9" }], /FieldValueDuplicate status\.loadBalancer\.ingress\[1\]\.ip/],
    ["x", [{ ip: "127.0.0.1" }], /ingress\[0\]\.ip: .*may not be in the loopback range/],
    ["x", [{ ip: "fd00::1" }], /ingress\[0\]\.ip: .*the service has no IPv6 address of its own/],
    [
      "x",
      [{ ip: "198.51.100.9", ipMode: "Vip" }],
      /FieldValueNotSupported status\.loadBalancer\.ingress\[0\]\.ipMode: Unsupported value: "Vip"/,
    ],
    ["x", [{ hostname: "a.example", ipMode: "VIP" }], /FieldValueForbidden .*ipMode: .*may not be specified when `ip` is not set/],
    ["x", [{ hostname: "198.51.100.9" }], /ingress\[0\]\.hostname: .*must be a DNS name, not an IP address/],
    [
      "inside",
      [{ ip: "198.51.100.9" }],
      /FieldValueForbidden status\.loadBalancer\.ingress: .*may only be used when `spec\.type` is "LoadBalancer"/,
    ],
  ];
  for (const [name, ingress, want] of rows) expect(await refusal(api, () => setIngress(send, name, ingress))).toMatch(want);
  await setIngress(send, "web", null);
  expect(ipsOf(await setIngress(send, "x", [{ ip: "198.51.100.7" }]))).toEqual(["198.51.100.7"]);
});

test.for<[ip: string, why: RegExp]>([
  ["127.0.0.1", /may not be in the loopback range/],
  ["169.254.169.254", /may not be in the link-local range/],
  ["224.0.0.1", /may not be in the multicast range/],
  ["0.0.0.0", /may not be in the unspecified range/],
  ["10.96.0.10", /range of virtual addresses \(10\.96\.0\.0\/16\)/],
  ["10.96.7.7", /range of virtual addresses/],
  ["192.0.2.250", /is the address of the server/],
  ["192.168.56.13", /is the address of the host vm-3/],
  ["10.0.0.13", /is the address of the host vm-3/],
  ["172.20.0.9", /is in 172\.20\.0\.0\/16, which is behind the host vm-3/],
])("no service gets %s, whichever way it asks", async ([ip, why]) => {
  const api = await startApi();
  const { send } = api;
  await aHost(api, "vm-3", ["192.168.56.13", "10.0.0.13"], ["172.20.0.0/16"]);
  await create(send, "web", balancer({ externalIPs: ["198.51.100.1"] }));
  const field = (text: string): RegExp => new RegExp(`^422 FieldValueInvalid ${text}: Invalid value: "${ip}": .*${why.source}`);
  expect(await refusal(api, () => create(send, "x", balancer({ loadBalancerIP: ip })))).toMatch(field(String.raw`spec\.loadBalancerIP`));
  expect(await refusal(api, () => patch(send, "web", { spec: { loadBalancerIP: ip } }))).toMatch(field(String.raw`spec\.loadBalancerIP`));
  expect(await refusal(api, () => setIngress(send, "web", [{ ip }]))).toMatch(field(String.raw`status\.loadBalancer\.ingress\[0\]\.ip`));
  const externalIPs = ["198.51.100.1", ip];
  expect(await refusal(api, () => create(send, "x", { externalIPs, ports: [{ port: 81 }] }))).toMatch(
    field(String.raw`spec\.externalIPs\[1\]`),
  );
  expect(await refusal(api, () => patch(send, "web", { spec: { externalIPs } }))).toMatch(field(String.raw`spec\.externalIPs\[1\]`));
});

test("an external IP is shared by port and protocol; a load balancer's address belongs to one service", async () => {
  const api = await startApi();
  const { send } = api;
  const externalIPs = ["198.51.100.1"];
  await create(send, "a", { externalIPs });
  await create(send, "udp", { externalIPs, ports: [{ port: 80, protocol: "UDP" }] });
  await create(send, "other", { externalIPs, ports: [{ port: 81 }] });
  expect(await refusal(api, () => create(send, "b", { externalIPs }))).toBe(
    '422 FieldValueInvalid spec.externalIPs[0]: Invalid value: "198.51.100.1": port 80/TCP of it is already in the hands of the service default/a',
  );
  expect(await refusal(api, () => patch(send, "other", { spec: { ports: [{ port: 80 }] } }))).toContain("port 80/TCP of it is already");
  expect(await refusal(api, () => create(send, "lb", balancer({ loadBalancerIP: "198.51.100.1" })))).toContain(
    "is already an external IP of",
  );
  await create(send, "lb", balancer({ loadBalancerIP: "198.51.100.2" }));
  expect(await refusal(api, () => create(send, "b", { externalIPs: ["198.51.100.2"], ports: [{ port: 9999 }] }))).toContain(
    "is already the load balancer address of the service default/lb",
  );
  // What is deleted or given up can be taken again, also by who stood behind it.
  await send({ method: "DELETE", path: `${SERVICES}/a` });
  expect((await create(send, "b", { externalIPs })).status).toBe(201);
  await patch(send, "b", { spec: { externalIPs: null } });
  expect((await patch(send, "other", { spec: { ports: [{ port: 80 }] } })).status).toBe(200);
  // A name that leads elsewhere, and one without virtual IP, hold nothing.
  await create(send, "named", { type: "ExternalName", externalName: "example.com", externalIPs });
  const headless = await create(send, "headless", { clusterIP: "None", externalIPs });
  expect(warningsOf(headless)).toContain('spec.externalIPs is ignored when spec.clusterIP is "None"');
  expect(await api.store.claims("external-ip/")).toEqual(["external-ip/198.51.100.1/TCP/80", "external-ip/198.51.100.1/UDP/80"]);
});

test("of those who ask for one address at once, one gets it", async () => {
  const api = await startApi();
  const addresses = Array.from({ length: 16 }, (_, i) => `198.51.100.${i + 1}`);
  // Each over connections of its own: what one client sends comes one after the other.
  const clients = Array.from({ length: 4 }, () => api.clientOf(api.tokens.admin));
  await Promise.all(clients.map((client) => client.list("Namespace")));
  for (const [i, ip] of addresses.entries()) {
    const name = `vm-${i + 3}`;
    await api.client.create("Node", { apiVersion: "v1", kind: "Node", metadata: { name } });
    const specs = [balancer({ loadBalancerIP: ip }), { externalIPs: [ip] }, { externalIPs: [ip] }];
    const answers = await Promise.allSettled([
      ...specs.map((spec, n) => clients[n]?.create("Service", { ...serviceBody(`s-${i}-${n}`), spec: { ports: [{ port: 80 }], ...spec } })),
      clients[3]?.patch("Node", name, { status: { addresses: internal([ip]) } }, { subresource: "status" }),
    ]);
    expect(answers.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    const holders = [`load-balancer/${ip}`, `external-ip/${ip}/TCP/80`, `node-address/${ip}`].map((claim) => api.store.claimOwner(claim));
    expect((await Promise.all(holders)).filter((owner) => owner !== undefined)).toHaveLength(1);
  }
});

test("a host's further address that a service has is left out of the host's, and the Node and an Event name both", async () => {
  const api = await startApi();
  const { client, send } = api;
  await create(send, "web", balancer({ loadBalancerIP: "198.51.100.7" }));
  await create(send, "ext", { externalIPs: ["198.51.100.8"] });
  const reported = internal(["192.168.56.13", "198.51.100.7", "198.51.100.8"]);
  await client.create("Node", { apiVersion: "v1", kind: "Node", metadata: { name: "vm-3" } });
  const report = { method: "PATCH", path: "/api/v1/nodes/vm-3/status", headers: MERGE };
  const told = await send({ ...report, body: { status: { addresses: reported } } });
  const said =
    "not counted among the addresses of this host, as services have them: 198.51.100.7 (service default/web), 198.51.100.8 (service default/ext)";
  expect(told.json.status).toMatchObject({
    addresses: internal(["192.168.56.13"]),
    conditions: [{ type: "AddressConflict", status: "True", reason: "HeldByService", message: said }],
  });
  expect(warningsOf(told)).toContain(said);
  expect(await api.store.claims("node-address/198")).toEqual([]);
  await waitFor(async () => (await client.list("Event")).items.some(({ message }) => message === said), { what: "the Event" });
  // The same again changes nothing; nobody else can say it, and it goes when the address is free.
  const { revision } = api.store;
  await send({ ...report, body: { status: { addresses: reported } } });
  expect(api.store.revision).toBe(revision);
  await send({ ...report, body: { status: { conditions: [{ type: "AddressConflict", status: "False" }] } } });
  expect((await client.get("Node", "vm-3")).status.conditions[0]?.status).toBe("True");
  await send({ method: "DELETE", path: `${SERVICES}/web` });
  await patch(send, "ext", { spec: { externalIPs: null } });
  const free = await send({ ...report, body: { status: { addresses: reported } } });
  expect(free.json.status).toMatchObject({ addresses: reported, conditions: [] });
  expect(await refusal(api, () => create(send, "web", balancer({ loadBalancerIP: "198.51.100.7" })))).toContain(
    "is the address of the host vm-3",
  );
});

test("a host whose own address a service has does not join, and one with a prefix around such an address leaves that out", async () => {
  const fleet = await startFleet({}, ["192.0.2.240/30"]);
  const { status } = await fleet.admin.create("Service", { ...serviceBody("web"), spec: { type: "LoadBalancer", ports: [{ port: 80 }] } });
  const ip = status.loadBalancer.ingress?.[0]?.ip ?? "";
  expect(ip).toMatch(/^192\.0\.2\.24/);
  const join = async (name: string, address: string, more?: object): Promise<unknown> =>
    fleet.connect((await fleet.token()).token).send(joinCall(name, address, more));
  await expect(join("vm-1", ip)).rejects.toMatchObject({
    code: "Invalid",
    message: `Node "vm-1" is invalid: status.addresses[0].address: Invalid value: "${ip}": is already an address of the service default/web`,
  });
  await expect(join("vm-1", "192.168.56.11", { podCIDRs: ["192.0.2.0/24"] })).rejects.toMatchObject({
    causes: [
      { field: "spec.podCIDRs[0]", message: expect.stringContaining(`holds ${ip}, an address of the service default/web`) as string },
    ],
  });
  const addresses = internal(["192.168.56.11", ip]);
  await join("vm-1", "192.168.56.11", { addresses });
  expect((await fleet.admin.get("Node", "vm-1")).status).toMatchObject({ addresses: internal(["192.168.56.11"]) });
  // A host's address is none of the pool's any more.
  await join("vm-2", "192.168.56.12", { addresses: internal(["192.168.56.12", ...others(ip)]) });
  const next = await fleet.admin.create("Service", { ...serviceBody("next"), spec: { type: "LoadBalancer", ports: [{ port: 80 }] } });
  expect(next.status.loadBalancer).toEqual({});
});

function serviceBody(name: string) {
  return { apiVersion: "v1" as const, kind: "Service" as const, metadata: { name, namespace: "default" } };
}

function others(ip: string): string[] {
  return ["192.0.2.240", "192.0.2.241", "192.0.2.242", "192.0.2.243"].filter((one) => one !== ip);
}

test("what is taken is known after a restart", async () => {
  const first = await startFleet({}, ["192.0.2.240/31"]);
  const make = (name: string, spec: object = {}) =>
    first.admin.create("Service", { ...serviceBody(name), spec: { type: "LoadBalancer", ports: [{ port: 80 }], ...spec } });
  const a = await make("a");
  await make("x", { type: "ClusterIP", externalIPs: ["198.51.100.1"] });
  await first.restart();
  const b = await make("b");
  expect([a, b].map(({ status }) => status.loadBalancer.ingress?.[0]?.ip).toSorted()).toEqual(["192.0.2.240", "192.0.2.241"]);
  await expect(make("y", { type: "ClusterIP", externalIPs: ["198.51.100.1"] })).rejects.toThrow("in the hands of the service default/x");
  await expect(make("z", { loadBalancerIP: "198.51.100.1" })).rejects.toThrow("is already an external IP of the service default/x");
});

test("who waits for an address gets one when the server has a pool, and then the first that becomes free", async () => {
  const fleet = await startFleet();
  const { admin } = fleet;
  const make = (name: string) => admin.create("Service", { ...serviceBody(name), spec: { type: "LoadBalancer", ports: [{ port: 80 }] } });
  const addressOf = async (name: string): Promise<string | undefined> =>
    (await admin.get("Service", name, { namespace: "default" })).status.loadBalancer.ingress?.[0]?.ip;
  const waitForAddress = (name: string): Promise<string> => waitFor(() => addressOf(name), { what: `the address of ${name}` });
  await make("a");
  await make("b");
  await fleet.restart({ loadBalancerCidrs: ["192.0.2.240/31"] });
  expect([await waitForAddress("a"), await waitForAddress("b")].toSorted()).toEqual(["192.0.2.240", "192.0.2.241"]);
  await make("c");
  await make("d");
  const former = await addressOf("a");
  await admin.delete("Service", "a", { namespace: "default" });
  expect(await waitForAddress("c")).toBe(former);
  const next = await addressOf("b");
  await admin.patch("Service", "b", { spec: { type: "ClusterIP" } }, { namespace: "default" });
  expect(await waitForAddress("d")).toBe(next);
});
