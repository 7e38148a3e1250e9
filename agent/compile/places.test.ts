import { describe, expect, test } from "vitest";
import { aNode, aService, aSlice, aState, compileWeb, type Spec, type WebCase } from "#test/states.ts";
import { compileService } from "./compile.ts";
import type { Frontend } from "./table.ts";

const here = { addresses: ["10.200.1.11"], nodeName: "h1" };
const there = { addresses: ["10.200.2.12"], nodeName: "h2" };
const goingHere = { ...here, conditions: { ready: false, serving: true, terminating: true } };
const unreadyThere = { ...there, conditions: { ready: false, serving: false } };
const ingress = [{ ip: "192.0.2.1" }];
const balanced = { type: "LoadBalancer" as const, ports: [{ name: "http", port: 80, nodePort: 30080 }] };
const dual = { clusterIPs: ["10.96.0.10", "fd10::10"], ipFamilies: ["IPv4", "IPv6"] as ("IPv4" | "IPv6")[] };

interface Case extends WebCase {
  readonly name: string;
  readonly want: readonly string[];
}

const backendsOf = ({ backends, whenEmpty }: Pick<Frontend, "backends" | "whenEmpty">): string =>
  backends.map(({ address }) => address).join(" ") || whenEmpty;

/** `scope address:port = who gets it | who gets it from outside < who may connect`. */
function written({ scope, family, address, port, protocol, outside, sourceRanges, ...choice }: Frontend): string {
  const place = `${scope} ${address || family}:${port}${protocol === "TCP" ? "" : `/${protocol}`}`;
  const from = sourceRanges && ` < ${sourceRanges.join(" ") || "nobody"}`;
  return `${place} = ${backendsOf(choice)}${outside ? ` | ${backendsOf(outside)}` : ""}${from ?? ""}`;
}

const placesIn = (one: WebCase): string[] => (compileWeb(one)?.frontends ?? []).filter(({ scope }) => scope !== "cluster").map(written);

describe("where clients connect besides the virtual IP", () => {
  const cases: readonly Case[] = [
    {
      name: "a node port is at every address of the host, so it names none",
      spec: { type: "NodePort", ports: [{ name: "http", port: 80, nodePort: 30080 }] },
      want: ["nodePort IPv4:30080 = 10.200.2.12"],
    },
    {
      name: "a node port is there in each family of the service",
      spec: { ...dual, type: "NodePort", ports: [{ name: "http", port: 80, nodePort: 30080 }] },
      want: ["nodePort IPv4:30080 = 10.200.2.12", "nodePort IPv6:30080 = reject"],
    },
    {
      name: "a node port of TCP is none of UDP",
      spec: {
        type: "NodePort",
        ports: [
          { name: "http", port: 80, nodePort: 30080 },
          { name: "quic", port: 80, nodePort: 30080, protocol: "UDP" },
        ],
      },
      want: ["nodePort IPv4:30080 = 10.200.2.12", "nodePort IPv4:30080/UDP = reject"],
    },
    {
      name: "a load balancer's address comes with its ports and its node ports",
      spec: balanced,
      ingress,
      want: ["loadBalancer 192.0.2.1:80 = 10.200.2.12", "nodePort IPv4:30080 = 10.200.2.12"],
    },
    {
      name: "ingress entries without an address, or of mode Proxy, are somebody else's; VIP says what absence says",
      spec: { ...balanced, ports: [{ name: "http", port: 80 }] },
      ingress: [
        { hostname: "lb.example.com" },
        { ip: "192.0.2.1", ipMode: "Proxy" },
        { ip: "192.0.2.2", ipMode: "VIP" },
        { ip: "192.0.2.3" },
      ],
      want: ["loadBalancer 192.0.2.2:80 = 10.200.2.12", "loadBalancer 192.0.2.3:80 = 10.200.2.12"],
    },
    {
      name: "the ingress of a service that is no load balancer any more means nothing",
      spec: {},
      ingress,
      want: [],
    },
    {
      name: "external addresses of the service's families",
      spec: { ...dual, externalIPs: ["198.51.100.7", "2001:db8::7"] },
      want: ["external 198.51.100.7:80 = 10.200.2.12", "external 2001:db8::7:80 = reject"],
    },
    {
      name: "sloppy external addresses are read as Kubernetes does, and what is no address is passed over",
      spec: {},
      unchecked: { externalIPs: ["192.000.002.001", " 198.51.100.7 ", "198.51.100.300", "example.com", ""] },
      want: ["external 192.0.2.1:80 = 10.200.2.12", "external 198.51.100.7:80 = 10.200.2.12"],
    },
    {
      name: "an address that is external and a load balancer's is the latter, once",
      spec: { ...balanced, ports: [{ name: "http", port: 80 }], externalIPs: ["192.0.2.1", "192.0.2.1"] },
      ingress: [...ingress, ...ingress],
      want: ["loadBalancer 192.0.2.1:80 = 10.200.2.12"],
    },
    {
      name: "headless services have no place at all",
      spec: { clusterIP: "None", externalIPs: ["198.51.100.7"] },
      want: [],
    },
    {
      name: "externalTrafficPolicy Local: who comes from outside gets endpoints of this host",
      spec: { ...balanced, externalTrafficPolicy: "Local", externalIPs: ["198.51.100.7"] },
      ingress,
      endpoints: [here, there],
      want: [
        "external 198.51.100.7:80 = 10.200.1.11 10.200.2.12 | 10.200.1.11",
        "loadBalancer 192.0.2.1:80 = 10.200.1.11 10.200.2.12 | 10.200.1.11",
        "nodePort IPv4:30080 = 10.200.1.11 10.200.2.12 | 10.200.1.11",
      ],
    },
    {
      name: "externalTrafficPolicy Local without a local endpoint drops outsiders, and this host still gets through",
      spec: { ...balanced, externalTrafficPolicy: "Local" },
      want: ["nodePort IPv4:30080 = 10.200.2.12 | drop"],
    },
    {
      name: "externalTrafficPolicy Local without any endpoint refuses everybody",
      spec: { ...balanced, externalTrafficPolicy: "Local" },
      endpoints: [unreadyThere],
      want: ["nodePort IPv4:30080 = reject | reject"],
    },
    {
      name: "outsiders fall back to a local endpoint that is going while there are ready ones elsewhere",
      spec: { ...balanced, externalTrafficPolicy: "Local" },
      endpoints: [goingHere, there],
      want: ["nodePort IPv4:30080 = 10.200.2.12 | 10.200.1.11"],
    },
    {
      name: "both fall back where nothing is ready anywhere",
      spec: { ...balanced, externalTrafficPolicy: "Local" },
      endpoints: [goingHere, unreadyThere],
      want: ["nodePort IPv4:30080 = 10.200.1.11 | 10.200.1.11"],
    },
    {
      name: "internalTrafficPolicy Local says nothing of other places",
      spec: { ...balanced, internalTrafficPolicy: "Local" },
      endpoints: [here, there],
      want: ["nodePort IPv4:30080 = 10.200.1.11 10.200.2.12"],
    },
  ];
  test.for(cases)("$name", (one) => {
    expect(placesIn(one)).toEqual(one.want);
  });

  test("the virtual IP follows the internal policy alone", () => {
    const spec: Spec = { ...balanced, externalTrafficPolicy: "Local", internalTrafficPolicy: "Cluster" };
    expect(compileWeb({ spec, endpoints: [here, there] })?.frontends[0]).toMatchObject({ scope: "cluster", outside: undefined });
    const both: Spec = { ...spec, internalTrafficPolicy: "Local" };
    expect(compileWeb({ spec: both, endpoints: [there] })?.frontends[0]).toMatchObject({
      backends: [],
      whenEmpty: "drop",
      outside: undefined,
    });
  });
});

describe("what a load balancer is told", () => {
  const spec: Spec = { ...balanced, externalTrafficPolicy: "Local", healthCheckNodePort: 32000 };
  const again = { addresses: ["10.200.1.13"], nodeName: "h1" };

  test.for([
    { name: "ready endpoints of this host count", endpoints: [here, again, there], want: 2 },
    { name: "those that are going do not, though they still get traffic", endpoints: [goingHere], want: 0 },
    { name: "those of weight 0 do not", endpoints: [{ ...here, weight: 0 }], want: 0 },
    { name: "those elsewhere do not", endpoints: [there], want: 0 },
  ])("$name", ({ endpoints, want }) => {
    expect(compileWeb({ spec, endpoints })?.healthCheck).toEqual({ port: 32000, localEndpoints: want });
  });

  test("an endpoint with two ports is one", () => {
    const ports = [80, 443].map((port) => ({ name: `p${port}`, port }));
    const state = aState([aService({ ...spec, ports })], [aSlice({ endpoints: [here], ports })]);
    expect(compileService(state, aNode, "default/web")?.healthCheck).toEqual({ port: 32000, localEndpoints: 1 });
  });

  test("only under the policy Local, and only for load balancers", () => {
    expect(compileWeb({ spec: { ...spec, externalTrafficPolicy: "Cluster" } })?.healthCheck).toBeUndefined();
    expect(compileWeb({ spec: { ...spec, type: "NodePort" } })?.healthCheck).toBeUndefined();
  });
});

test("the annotation names a scheduler of IPVS, and anything but a word is ignored", () => {
  const schedulerOf = (text: string) =>
    compileWeb({ spec: balanced, ingress, annotations: { "fairlead.dev/scheduler": text } })?.frontends.map(({ scheduler }) => scheduler);
  expect(schedulerOf("lc")).toEqual(["lc", "lc", "lc"]);
  for (const text of ["", "LC", "lc -f 1", "lc\n-C", "a".repeat(16)]) expect(schedulerOf(text)).toEqual([undefined, undefined, undefined]);
});

test("frontends are sorted by scope, address, protocol, port and family, whatever the order of the service", () => {
  const ports = [
    { name: "b", port: 443, nodePort: 30443 },
    { name: "a", port: 80, nodePort: 30080 },
    { name: "u", port: 443, nodePort: 30443, protocol: "UDP" as const },
  ];
  const spec: Spec = { ...dual, type: "LoadBalancer", ports, externalIPs: ["198.51.100.8", "198.51.100.7"] };
  const found = compileWeb({ spec, ingress: [{ ip: "192.0.2.2" }, { ip: "192.0.2.1" }], endpoints: [] })?.frontends ?? [];
  const order = found.map(({ scope, address, protocol, port, family }) => [
    scope,
    address,
    protocol,
    String(port).padStart(5, "0"),
    family,
  ]);
  expect(order).toHaveLength(3 * (2 + 2 + 2 + 2));
  expect(order.map((one) => one.join("\t"))).toEqual(order.map((one) => one.join("\t")).toSorted());
  const reversed: Spec = { ...spec, ports: ports.toReversed(), externalIPs: spec.externalIPs?.toReversed() };
  expect(compileWeb({ spec: reversed, ingress: [{ ip: "192.0.2.1" }, { ip: "192.0.2.2" }], endpoints: [] })?.frontends).toEqual(found);
});

test("two services that claim the same address are compiled each by itself: the server keeps them apart", () => {
  const spec: Spec = { externalIPs: ["198.51.100.7"] };
  const state = aState([aService(spec), aService({ ...spec, clusterIP: "10.96.0.11" }, "api")], []);
  for (const key of ["default/web", "default/api"])
    expect(compileService(state, aNode, key)?.frontends.map(({ address }) => address)).toContain("198.51.100.7");
});
