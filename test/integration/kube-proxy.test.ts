import { isDeepStrictEqual } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { compileTable } from "#agent/compile/compile.ts";
import { everyDnsChange } from "#agent/compile/dns-view.ts";
import type { ClusterState } from "#agent/sync/state.ts";
import type { Client } from "#proto/client.ts";
import type { AnyObject, KindName } from "#proto/kinds.ts";
import { keyOf as objectKeyOf } from "#proto/meta.ts";
import { ZONE_LABEL } from "#proto/node.ts";
import { answered } from "#test/kube/dns-model.ts";
import { programmed } from "#test/kube/proxy-model.ts";
import { kubeClient, startReflector, type KubeObject, type Reflector, type ReflectorOptions } from "#test/kube/reflector.ts";
import { aNode, aState } from "#test/states.ts";
import { waitFor } from "#test/wait-for.ts";
import { startApi } from "./api-server.ts";
import { startHost, startServer } from "./cli-server.ts";
import { aService, aWorkload, cluster, startFleet, type FleetServer } from "./fleet-server.ts";

/** kube-proxy 1.36 and CoreDNS as recorded (their paths, queries, headers), with client-go's way of following a server; their own binaries cannot be had here. */

const PROXY_ACCEPT = "application/vnd.kubernetes.protobuf, */*";
const DNS_ACCEPT = "application/vnd.kubernetes.protobuf,application/json";

const services = "/api/v1/services";
const slices = "/apis/discovery.k8s.io/v1/endpointslices";
const NOT_OTHERS = "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name";

/** What kube-proxy follows on a host. */
function proxyWatches(node: string): Readonly<Record<"node" | "services" | "slices" | "cidrs", ReflectorOptions>> {
  const mode = "streaming";
  return {
    node: { path: "/api/v1/nodes", selectors: `fieldSelector=metadata.name%3D${node}`, mode },
    services: { path: services, selectors: `fieldSelector=spec.clusterIP%21%3DNone&${NOT_OTHERS}`, mode },
    slices: { path: slices, selectors: "labelSelector=%21service.kubernetes.io%2Fheadless", mode },
    cidrs: { path: "/apis/networking.k8s.io/v1/servicecidrs", mode },
  };
}

function dnsWatches(mode: ReflectorOptions["mode"]): Readonly<Record<"services" | "slices" | "namespaces", ReflectorOptions>> {
  return {
    services: { path: services, mode },
    slices: { path: slices, mode },
    namespaces: { path: "/api/v1/namespaces", mode },
  };
}

interface Follower<Name extends string> {
  readonly of: Readonly<Record<Name, Reflector>>;
  readonly all: readonly Reflector[];
  stop(): Promise<void>;
}

function follow<Name extends string>(
  server: { url: string; ca: string },
  { bearer, accept }: { bearer: string; accept: string },
  watches: Readonly<Record<Name, ReflectorOptions>>,
): Follower<Name> {
  const client = kubeClient(server, bearer, accept);
  const entries = Object.entries<ReflectorOptions>(watches).map(([name, options]) => [name, startReflector(client, options)] as const);
  const stop = async (): Promise<void> => {
    await Promise.all(entries.map(([, reflector]) => reflector.stop()));
    client.close();
  };
  onTestFinished(stop);
  return { of: Object.fromEntries(entries) as Record<Name, Reflector>, all: entries.map(([, reflector]) => reflector), stop };
}

/** Of every server, always. */
function expectSound(reflectors: readonly Reflector[]): void {
  for (const { revisions, faults } of reflectors) {
    expect(faults).toEqual([]);
    expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
  }
}

function versionsOf(objects: Iterable<KubeObject | AnyObject>): Record<string, string | undefined> {
  return Object.fromEntries(
    Array.from(objects, ({ metadata }) => [`${metadata.namespace ?? ""}/${metadata.name}`, metadata.resourceVersion]),
  );
}

async function listAll<Kind extends KindName>(client: Client, kind: Kind) {
  return (await client.list(kind)).items;
}

const isWithout =
  (label: string) =>
  ({ metadata }: AnyObject): boolean =>
    metadata.labels?.[label] === undefined;

/** All there is, if they have heard it; undefined = not yet. */
async function settled(admin: Client, proxies: readonly Follower<"services" | "slices">[], dns: Follower<"services" | "slices">) {
  const all = {
    services: await listAll(admin, "Service"),
    slices: await listAll(admin, "EndpointSlice"),
    nodes: await listAll(admin, "Node"),
  };
  const proxied = all.services
    .filter(isWithout("service.kubernetes.io/service-proxy-name"))
    .filter(({ spec }) => spec.clusterIP !== "None");
  const theirSlices = all.slices.filter(isWithout("service.kubernetes.io/headless"));
  const heard =
    hasHeard(dns.of.services, all.services) &&
    hasHeard(dns.of.slices, all.slices) &&
    proxies.every(({ of }) => hasHeard(of.services, proxied) && hasHeard(of.slices, theirSlices));
  return heard ? all : undefined;
}

function hasHeard({ objects, synced }: Reflector, wanted: readonly AnyObject[]): boolean {
  return synced && isDeepStrictEqual(versionsOf(objects.values()), versionsOf(wanted));
}

test("kube-proxy and CoreDNS get what they ask for, with a host's credential too", async () => {
  const server = await startApi();
  await server.client.create("Service", aService("web"), { namespace: "default" });
  await server.client.create("Service", aService("headless", { clusterIP: "None" }), { namespace: "default" });
  const other = { ...aService("other"), metadata: { name: "other", labels: { "service.kubernetes.io/service-proxy-name": "x" } } };
  await server.client.create("Service", other, { namespace: "default" });
  for (const bearer of [server.tokens.admin, server.tokens.node]) {
    const proxy = follow(server, { bearer, accept: PROXY_ACCEPT }, proxyWatches("vm-1"));
    const dns = follow(server, { bearer, accept: DNS_ACCEPT }, dnsWatches("list"));
    await waitFor(() => [...proxy.all, ...dns.all].every(({ synced }) => synced), { what: "all to be synced" });
    expect([...proxy.of.services.objects.keys()]).toEqual(["default/web"]);
    expect([...proxy.of.node.objects.keys()]).toEqual(["/vm-1"]);
    expect([...proxy.of.cidrs.objects.values()]).toMatchObject([
      {
        apiVersion: "networking.k8s.io/v1",
        kind: "ServiceCIDR",
        metadata: { name: "kubernetes" },
        spec: { cidrs: ["10.96.0.0/16"] },
        status: { conditions: [{ type: "Ready", status: "True" }] },
      },
    ]);
    expect([...dns.of.services.objects.keys()].toSorted()).toEqual(["default/headless", "default/other", "default/web"]);
    expect(dns.of.namespaces.objects.has("/default")).toBe(true);
    expect(proxy.of.services.requests).toEqual([
      `${services}?fieldSelector=spec.clusterIP%21%3DNone&${NOT_OTHERS}&allowWatchBookmarks=true&timeout=300s&timeoutSeconds=300&watch=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true`,
    ]);
    expect(dns.of.services.requests[0]).toBe(`${services}?limit=500&resourceVersion=0`);
    expectSound([...proxy.all, ...dns.all]);
    await proxy.stop();
    await dns.stop();
  }
});

test("whoever was away too long, or was told of a future that never came, is told 410 and begins anew", async () => {
  const server = await startApi();
  const since = server.store.revision;
  for (let i = 0; i < 5; i++) await server.client.create("Service", aService(`web-${i}`), { namespace: "default" });
  await server.store.compact(server.store.revision - 1);
  for (const from of [since, 1_000_000])
    for (const mode of ["streaming", "list"] as const) {
      const reflectors = follow(
        server,
        { bearer: server.tokens.node, accept: PROXY_ACCEPT },
        {
          services: { path: services, mode, from },
          cidrs: { path: "/apis/networking.k8s.io/v1/servicecidrs", mode, from },
        },
      );
      await waitFor(() => reflectors.all.every(({ synced }) => synced), { what: `${mode} from ${from} to be synced` });
      expect(reflectors.all.map(({ expired }) => expired)).toEqual([1, 1]);
      expect(reflectors.of.services.objects.size).toBe(5);
      expectSound(reflectors.all);
      await reflectors.stop();
    }
});

test("long lists come in chunks of one revision, and the watch after them misses nothing", async () => {
  const server = await startApi();
  for (let i = 0; i < 12; i++) await server.client.create("Service", aService(`web-${i}`), { namespace: "default" });
  const first = await server.send({ path: `${services}?limit=5&resourceVersion=0` });
  const revision = first.json.metadata["resourceVersion"];
  await server.client.delete("Service", "web-9", { namespace: "default" });
  const seen = first.json.items.map(({ metadata }) => metadata["name"]);
  for (let page = first.json.metadata["continue"]; page !== undefined;) {
    const { json } = await server.send({ path: `${services}?limit=5&continue=${encodeURIComponent(page)}` });
    expect(json.metadata["resourceVersion"]).toBe(revision);
    seen.push(...json.items.map(({ metadata }) => metadata["name"]));
    page = json.metadata["continue"];
  }
  expect(seen).toHaveLength(11); // the one that went meanwhile was on a later page; the watch says so again
  const { of, stop } = follow(
    server,
    { bearer: server.tokens.admin, accept: DNS_ACCEPT },
    {
      services: { path: services, mode: "list", from: Number(revision) },
    },
  );
  await waitFor(() => of.services.faults.length === 1, { what: "the DELETED of what a page did not have any more" });
  expect(of.services.faults[0]).toMatch(/^DELETED default\/web-9 /);
  await stop();
});

test("bookmarks come in time, also to those whom a stream of other changes wakes", async () => {
  const server = await startApi({ bookmarkAfterMs: 100 });
  const { of } = follow(server, { bearer: server.tokens.node, accept: PROXY_ACCEPT }, { node: proxyWatches("vm-1").node });
  await waitFor(() => of.node.synced, { what: "the list" });
  const before = server.store.revision;
  let round = 0;
  await waitFor(
    async () => {
      await server.client.patch("Node", "vm-2", { metadata: { annotations: { round: String(round++) } } }); // more often than the time for bookmarks
      return (of.node.revisions.at(-1) ?? 0) > before;
    },
    { what: "a bookmark", intervalMs: 10 },
  );
  expectSound([of.node]);
});

test(
  "a server that is killed and started again: all go on from where they were, and no revision is lower",
  { timeout: 60_000 },
  async () => {
    const server = await startServer();
    onTestFinished(() => server.close());
    const host = await startHost(server, "vm-1", "192.168.56.11");
    onTestFinished(() => host.stop());
    const proxy = follow(server, { bearer: server.token, accept: PROXY_ACCEPT }, proxyWatches("vm-1"));
    const dns = follow(server, { bearer: server.token, accept: DNS_ACCEPT }, dnsWatches("list"));
    const all = [...proxy.all, ...dns.all];
    await waitFor(() => all.every(({ synced }) => synced), { what: "all to be synced" });
    for (const name of ["one", "two", "three"]) {
      await server.client.create("Service", aService(name), { namespace: "default" });
      await server.stop();
      await server.start();
      await server.client.create("Service", aService(`${name}-after`), { namespace: "default" });
    }
    await server.client.delete("Service", "one", { namespace: "default" });
    const wanted = await listAll(server.client, "Service");
    await waitFor(() => [proxy, dns].every(({ of }) => hasHeard(of.services, wanted)), { what: "both to know all Services" });
    expectSound(all);
    expect(all.map(({ expired }) => expired)).toEqual(all.map(() => 0));
  },
);

/** Numbers that look random, and are the same each time. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const HOSTS = [
  { name: "n1", address: "192.168.56.11", podCIDRs: ["10.200.1.0/24", "fd20:0:0:1::/64"], zone: "a" },
  { name: "n2", address: "192.168.56.12", podCIDRs: ["10.200.2.0/24", "fd20:0:0:2::/64"], zone: "a" },
  { name: "n3", address: "192.168.56.13", podCIDRs: ["10.200.3.0/24", "fd20:0:0:3::/64"], zone: "b" },
] as const;

const VARIANTS: readonly object[] = [
  {},
  { ipFamilyPolicy: "PreferDualStack" },
  { clusterIP: "None" },
  { clusterIP: "None", publishNotReadyAddresses: true, ports: [{ name: "http", port: 80, targetPort: "http" }] },
  {
    type: "NodePort",
    ports: [
      { name: "http", port: 80, targetPort: "http" },
      { name: "udp", port: 53, protocol: "UDP", targetPort: 8080 },
    ],
  },
  { internalTrafficPolicy: "Local" },
  { trafficDistribution: "PreferClose" },
  { trafficDistribution: "PreferSameNode", ipFamilyPolicy: "PreferDualStack" },
  { publishNotReadyAddresses: true, sessionAffinity: "ClientIP" },
  { type: "ExternalName", externalName: "example.com", ports: [] },
  { type: "LoadBalancer", externalTrafficPolicy: "Local" },
  {
    ipFamilies: ["IPv6"],
    ports: [
      { name: "a", port: 1, targetPort: 8080 },
      { name: "b", port: 2, targetPort: "nowhere" },
    ],
  },
];

/** One change of many kinds, chosen by `next`. */
async function change({ admin }: FleetServer, next: (below: number) => number): Promise<void> {
  const namespace = "default";
  const ignoringMissing = async (work: Promise<unknown>): Promise<void> => {
    await Promise.allSettled([work]); // it may be there, or not
  };
  const app = `app-${next(3)}`;
  const service = `svc-${next(10)}`;
  const workload = next(12);
  const host = HOSTS[workload % 3];
  if (!host) return;
  switch (next(9)) {
    case 0:
    case 1:
    case 2: {
      const wanted = aService(service, { selector: { app }, ...VARIANTS[next(VARIANTS.length)] });
      const labels = next(6) === 0 ? { "service.kubernetes.io/service-proxy-name": "other" } : {};
      return ignoringMissing(admin.create("Service", { ...wanted, metadata: { ...wanted.metadata, labels } }, { namespace }));
    }
    case 3:
      return ignoringMissing(admin.delete("Service", service, { namespace }));
    case 4:
    case 5: {
      const address =
        workload % 4 === 3 ? `fd20:0:0:${(workload % 3) + 1}::${workload + 1}` : `10.200.${(workload % 3) + 1}.${workload + 1}`;
      const wanted = aWorkload(`w-${workload}`, host.name, { address, ports: [{ name: "http", port: 8080 }] }, app);
      return ignoringMissing(admin.create("Workload", wanted, { namespace }));
    }
    case 6:
      return ignoringMissing(admin.patch("Workload", `w-${workload}`, { spec: { drain: next(2) === 0 } }, { namespace }));
    case 7:
      return ignoringMissing(admin.patch("Service", service, { spec: { selector: { app } } }, { namespace }));
    default:
      return ignoringMissing(admin.patch("Node", host.name, { spec: { unschedulable: next(2) === 0 } }));
  }
}

function ours(state: ClusterState, host: (typeof HOSTS)[number]): Map<string, readonly string[]> {
  const table = compileTable(state, {
    ...aNode,
    name: host.name,
    addresses: [host.address],
    localCidrs: host.podCIDRs,
    zone: host.zone,
  });
  const places = new Map<string, readonly string[]>();
  for (const { frontends } of table.services.values())
    for (const { scope, address, port, protocol, backends, family } of frontends)
      if (scope === "cluster")
        places.set(
          `${address}:${port}/${protocol}`,
          backends.map((one) => `${family === "IPv6" ? `[${one.address}]` : one.address}:${one.port}`).toSorted(),
        );
  return places;
}

function oursNamed(state: ClusterState): readonly string[] {
  const texts = [...everyDnsChange(state)]
    .filter(({ source }) => source.startsWith("service "))
    .flatMap(({ records }) => records)
    .flatMap((record) => {
      if (record.type === "A" || record.type === "AAAA") return [`${record.name} ${record.type} ${record.address}`];
      if (record.type === "CNAME") return [`${record.name} CNAME ${record.target}`];
      // At a service's bare name are the SRV of all its ports, too: a question of type SRV, which the model does not ask.
      return record.type === "SRV" && record.name.startsWith("_") ? [`${record.name} SRV ${record.port} ${record.target}`] : [];
    });
  return [...new Set(texts)].toSorted();
}

test.for([1, 2, 3, 4, 5, 6, 7, 8])(
  "a stock kube-proxy would program, and CoreDNS answer, what our agent does: random fleet %i",
  { timeout: 60_000 },
  async (seed) => {
    const facts = { serviceCidrs: ["10.96.0.0/16", "fd10::/112"], dnsIps: ["10.96.0.10", "fd10::a"], nodeTimeoutMs: 5000 };
    const fleet = await startFleet(facts);
    for (const { name, address, podCIDRs, zone } of HOSTS) {
      await fleet.host(name, address, { podCIDRs: [...podCIDRs] });
      await fleet.admin.patch("Node", name, { metadata: { labels: { [ZONE_LABEL]: zone } } });
    }
    const { bearer } = fleet;
    const proxies = HOSTS.map((host) => ({ host, proxy: follow(fleet, { bearer, accept: PROXY_ACCEPT }, proxyWatches(host.name)) }));
    const dns = follow(fleet, { bearer, accept: DNS_ACCEPT }, dnsWatches(seed % 2 === 0 ? "list" : "streaming"));
    const next = numbers(seed);
    for (let round = 0; round < 6; round++) {
      for (let i = 0; i < 15; i++) await change(fleet, next);
      if (round === 3) await fleet.restart();
      const all = await waitFor(
        async () =>
          settled(
            fleet.admin,
            proxies.map(({ proxy }) => proxy),
            dns,
          ),
        { what: "all to have heard all" },
      );
      const state = aState(all.services, all.slices, {
        cluster: { ...cluster, ...facts },
        nodes: new Map(all.nodes.map((node) => [objectKeyOf(node), node])),
      });
      for (const { host, proxy } of proxies) {
        const theirs = programmed({ services: proxy.of.services.objects.values(), slices: proxy.of.slices.objects.values(), node: host });
        expect(Object.fromEntries(theirs)).toEqual(Object.fromEntries(ours(state, host)));
      }
      expect(answered(dns.of.services.objects.values(), dns.of.slices.objects.values(), "cluster.local")).toEqual(oursNamed(state));
    }
    expectSound([...proxies.flatMap(({ proxy }) => proxy.all), ...dns.all]);
  },
);
