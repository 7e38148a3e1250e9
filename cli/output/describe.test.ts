import { expect, test } from "vitest";
import { parseObject } from "#proto/parse.ts";
import { FleetStatus } from "#proto/agents.ts";
import { describeService } from "./describe-service.ts";
import { describeNode, describeWorkload } from "./describe.ts";
import { eventsSection } from "./describe-text.ts";
import { problemsOf, renderStatus } from "./status.ts";

const NOW = Date.parse("2026-01-02T00:00:00Z");

const service = parseObject("Service", {
  apiVersion: "v1",
  kind: "Service",
  metadata: {
    name: "web",
    namespace: "shop",
    labels: { app: "web" },
    annotations: { "kubectl.kubernetes.io/last-applied-configuration": "{}" },
  },
  spec: { clusterIP: "10.96.0.10", selector: { app: "web" }, ports: [{ name: "http", port: 80, targetPort: "http" }] },
});
const workload = (name: string, more: object = {}, status: object = {}) =>
  parseObject("Workload", {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name, namespace: "shop", labels: { app: "web" } },
    spec: { node: "vm-1", address: "10.0.0.1", ports: [{ name: "http", port: 8080 }], ...more },
    status,
  });
const node = (name: string, ready: boolean, spec: object = {}) =>
  parseObject("Node", {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name },
    spec,
    status: {
      addresses: [{ type: "InternalIP", address: "10.0.0.1" }],
      conditions: [{ type: "Ready", status: ready ? "True" : "Unknown" }],
    },
  });
const slice = (endpoints: object[]) =>
  parseObject("EndpointSlice", {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "web-x", namespace: "shop", labels: { "kubernetes.io/service-name": "web" } },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080 }],
    endpoints,
  });
const endpoint = (address: string, workloadName: string, nodeName: string, conditions: object) => ({
  addresses: [address],
  nodeName,
  conditions,
  targetRef: { kind: "Workload", name: workloadName },
});

test("describe service says of each endpoint why it gets no connections", () => {
  const text = describeService({
    service,
    slices: [
      slice([
        endpoint("10.0.0.1", "good", "vm-1", { ready: true }),
        endpoint("10.0.0.2", "failing", "vm-1", { ready: false }),
        endpoint("10.0.0.3", "leaving", "vm-1", { ready: false, serving: true, terminating: true }),
        endpoint("10.0.0.4", "stranded", "vm-2", { ready: false }),
        endpoint("10.0.0.5", "drained", "vm-1", { ready: false, serving: true }),
      ]),
    ],
    workloads: new Map([
      ["good", workload("good")],
      [
        "failing",
        workload(
          "failing",
          { checks: [{ tcp: { port: "http" } }] },
          { ready: false, reason: "ConnectionRefused", message: "10.0.0.2:8080" },
        ),
      ],
      ["stranded", workload("stranded")],
      ["drained", workload("drained", { drain: true })],
    ]),
    nodes: new Map([
      ["vm-1", node("vm-1", true)],
      ["vm-2", node("vm-2", false)],
    ]),
  });
  const why = (address: string) => new RegExp(`^  ${address} .*$`, "m").exec(text)?.[0] ?? "";
  expect(text).toMatch(/^Port: +http {2}80\/TCP\nTargetPort: +http\/TCP\nEndpoints: +10\.0\.0\.1:8080$/m);
  expect(text).toMatch(/^Annotations: +<none>$/m);
  expect(why("10.0.0.1")).toMatch(/yes +yes +no +vm-1 +good$/);
  expect(why("10.0.0.2")).toMatch(/ConnectionRefused: 10\.0\.0\.2:8080$/);
  expect(why("10.0.0.3")).toMatch(/is being removed, drains$/);
  expect(why("10.0.0.4")).toMatch(/node vm-2 is not ready$/);
  expect(why("10.0.0.5")).toMatch(/workload is drained$/);
});

const emptyService = (spec: object) => parseObject("Service", { ...service, spec: { ...service.spec, ...spec } });
const named = (...all: ReturnType<typeof workload>[]) => new Map(all.map((one) => [one.metadata.name, one]));
const stopped = [endpoint("10.0.0.1", "a", "vm-1", { ready: false, serving: false })];

test.for([
  {
    name: "no workload has the port that it names",
    spec: { ports: [{ port: 80, targetPort: "htp" }] },
    workloads: named(workload("a"), workload("b")),
    slices: [],
    says: "  2 workloads match, but none has a TCP port named htp (they have: http).\n",
  },
  {
    name: "one of the workloads does not name its port",
    spec: {},
    workloads: named(workload("a"), workload("b", { ports: [{ port: 80 }] })),
    slices: [],
    says: "  1 of 2 workloads are no endpoints of the TCP port named http: b (they have: 80).\n",
  },
  {
    name: "the port is of another protocol",
    spec: { ports: [{ port: 53, protocol: "UDP" as const, targetPort: "http" }] },
    workloads: named(workload("a")),
    slices: [],
    says: "  1 workload matches, but none has a UDP port named http (they have: http/TCP).\n",
  },
  {
    name: "the workloads listen nowhere",
    spec: {},
    workloads: named(workload("a", { ports: [] })),
    slices: [],
    says: "  1 workload matches, but none has a TCP port named http (they have no ports).\n",
  },
  {
    name: "the workloads are of another family",
    spec: { ports: [{ port: 80, targetPort: 8080 }] },
    workloads: named(workload("a")),
    slices: [],
    says: "  1 workload matches, but none has an address of the service's IP families.\n",
  },
  {
    name: "it has no selector",
    spec: { selector: undefined },
    workloads: named(),
    slices: [],
    says: "  The service has no selector: it serves what EndpointSlices made by hand say, and there are none.\n",
  },
  {
    name: "all fail their checks",
    spec: {},
    workloads: named(workload("a", { checks: [{ tcp: { port: "http" } }] }, { ready: false, reason: "ConnectionRefused" })),
    slices: [slice(stopped)],
    says: "  No endpoint is ready: ConnectionRefused.\n",
  },
])("a service without endpoints says why: $name", ({ spec, workloads, slices, says }) => {
  const text = describeService({ service: emptyService(spec), slices, workloads, nodes: new Map([["vm-1", node("vm-1", true)]]) });
  expect(text.endsWith(says), text).toBe(true);
});

test("a workload with checks in a file of its host is not called ready before there is a verdict", () => {
  const fromFile = workload("a");
  fromFile.metadata.annotations = { "fairlead.dev/local-checks": "1" };
  const text = describeService({ service, slices: [slice(stopped)], workloads: named(fromFile), nodes: new Map() });
  expect(text).toMatch(/vm-1 +a +not checked yet\n/);
});

test("a load balancer shows its addresses, ports of hosts, policies and who may connect", () => {
  const balancer = parseObject("Service", {
    ...service,
    spec: {
      ...service.spec,
      type: "LoadBalancer",
      ipFamilyPolicy: "RequireDualStack",
      ipFamilies: ["IPv4", "IPv6"],
      clusterIPs: ["10.96.0.10", "fd00:96::a"],
      externalIPs: ["198.51.100.1"],
      loadBalancerIP: "192.0.2.7",
      ports: [{ name: "http", port: 80, targetPort: "http", nodePort: 30_080 }],
      sessionAffinity: "ClientIP",
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 600 } },
      externalTrafficPolicy: "Local",
      healthCheckNodePort: 30_081,
      loadBalancerSourceRanges: ["192.168.0.0/16", "10.0.0.0/8"],
      trafficDistribution: "PreferSameZone",
    },
    status: { loadBalancer: { ingress: [{ ip: "192.0.2.7", ipMode: "VIP" }, { hostname: "lb.example.com" }] } },
  });
  const text = describeService({ service: balancer, slices: [], workloads: new Map(), nodes: new Map() });
  const shown = new Map(text.split("\n").map((line) => [line.split(":")[0], line.replace(/^[^:]*: */, "")]));
  expect(Object.fromEntries(shown)).toMatchObject({
    Type: "LoadBalancer",
    "IP Family Policy": "RequireDualStack",
    "IP Families": "IPv4,IPv6",
    IPs: "10.96.0.10,fd00:96::a",
    "External IPs": "198.51.100.1",
    "Desired LoadBalancer IP": "192.0.2.7",
    "LoadBalancer Ingress": "192.0.2.7 (VIP), lb.example.com",
    NodePort: "http  30080/TCP",
    "Session Affinity": "ClientIP (600 s)",
    "External Traffic Policy": "Local",
    "Internal Traffic Policy": "Cluster",
    "Traffic Distribution": "PreferSameZone",
    "HealthCheck NodePort": "30081",
    "LoadBalancer Source Ranges": "192.168.0.0/16,10.0.0.0/8",
  });
  const waiting = parseObject("Service", { ...balancer, status: {} });
  expect(describeService({ service: waiting, slices: [], workloads: new Map(), nodes: new Map() })).toMatch(
    /^LoadBalancer Ingress: +<pending>$/m,
  );
});

test("weights are shown where one is not the usual, and 0 is a reason to get no connections", () => {
  const pair = (weight: number) => [
    { ...endpoint("10.0.0.1", "a", "vm-1", { ready: true }), weight },
    { ...endpoint("10.0.0.2", "b", "vm-1", { ready: true }), weight: 0 },
  ];
  const nodes = new Map([["vm-1", node("vm-1", true)]]);
  const text = (endpoints: object[]) =>
    describeService({ service, slices: [slice(endpoints)], workloads: named(workload("a"), workload("b")), nodes });
  expect(text(pair(3))).toMatch(/ADDRESS +READY +SERVING +TERMINATING +WEIGHT +NODE/);
  expect(text(pair(3))).toMatch(/10\.0\.0\.1 +yes +yes +no +3 +vm-1 +a\n.*10\.0\.0\.2 +yes +yes +no +0 +vm-1 +b +its weight is 0\n$/);
  expect(text(pair(0))).toMatch(/All endpoints that are ready have the weight 0\.\n$/);
  expect(text([endpoint("10.0.0.1", "a", "vm-1", { ready: true })])).not.toContain("WEIGHT");
});

test("an endpoint of a drained host is not said to be removed", () => {
  const drained = [endpoint("10.0.0.1", "a", "vm-1", { ready: false, serving: true, terminating: true })];
  const nodes = new Map([["vm-1", node("vm-1", true, { unschedulable: true })]]);
  const text = describeService({ service, slices: [slice(drained)], workloads: named(workload("a")), nodes });
  expect(text).toMatch(/vm-1 +a +node vm-1 is drained\n/);
});

const keptNode = parseObject("Node", {
  ...node("vm-2", false),
  status: { conditions: [{ type: "Ready", status: "Unknown", reason: "MassFailureBrake" }] },
});

test("an endpoint that the mass-failure brake keeps says so, though it gets connections", () => {
  const text = describeService({
    service,
    slices: [slice([endpoint("10.0.0.2", "a", "vm-2", { ready: true })])],
    workloads: named(workload("a")),
    nodes: new Map([["vm-2", keptNode]]),
  });
  expect(text).toMatch(/vm-2 +a +node vm-2 silent, kept by the mass-failure brake\n/);
  expect(describeNode(keptNode, [], NOW)).toMatch(/Status: +Unknown\n/);
});

test("a service that selects nothing says so", () => {
  const text = describeService({ service, slices: [], workloads: new Map(), nodes: new Map() });
  expect(text).toContain("Endpoint conditions:  <none>\n  No workload in namespace shop has the labels app=web.\n");
});

test("describe node tells its workloads, and describe workload its services", () => {
  expect(describeNode(node("vm-1", true, { unschedulable: true }), [workload("web-1")], NOW)).toMatch(
    /Drained: +yes[^]*shop +web-1 +10\.0\.0\.1 +True/,
  );
  expect(describeWorkload(workload("web-1", { checks: [{ http: { port: "http", path: "/up" } }] }), ["web  ready"])).toMatch(
    /Checks: +http :http\/up {2}every 5s, timeout 1s, rise 1, fall 3[^]*Services: +web {2}ready/,
  );
});

test("events come in the order of time, with a count where they repeated", () => {
  const event = (reason: string, lastTimestamp: string, count?: number) =>
    parseObject("Event", {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: reason.toLowerCase() },
      involvedObject: {},
      reason,
      lastTimestamp,
      ...(count && { count }),
    });
  const text = eventsSection([event("Late", "2026-01-01T23:59:59Z"), event("Early", "2026-01-01T23:50:00Z", 3)], NOW);
  expect(text).toMatch(/Early +10m \(x3\)[^]*Late +1s/);
  expect(eventsSection([], NOW)).toBe("Events:  <none>\n");
});

const fleet = (nodes: object[]) =>
  FleetStatus.parse({
    version: "0.1.0",
    epoch: "e",
    revision: 42,
    startedAt: "2026-01-01T23:00:00Z",
    cluster: {
      domain: "cluster.local",
      serviceCidrs: ["10.96.0.0/16"],
      dnsIps: ["10.96.0.10"],
      nodePortRange: { from: 30000, to: 32767 },
      heartbeatIntervalMs: 1000,
      nodeTimeoutMs: 5000,
    },
    counts: { services: 2, workloads: 5 },
    nodes,
  });
const host = { name: "vm-1", ready: true, addresses: ["10.0.0.1"], applied: 42, behind: 0, lastHeardMs: 300, problems: [] };

test("status says that all is well when it is", () => {
  const text = renderStatus(fleet([host]), { server: "https://10.0.0.5:7443", now: NOW, warnings: [] });
  expect(text).toMatch(/Nodes: +1 of 1 ready/);
  expect(text).toMatch(/vm-1 +yes +0 +300ms +10\.0\.0\.1 +none\nAll is well\.\n$/);
});

test("status names what is wrong on which host", () => {
  const status = fleet([
    host,
    { ...host, name: "vm-2", ready: false, lastHeardMs: 65_000, problems: ["nat table flushed"] },
    { ...host, name: "vm-3", ready: false, lastHeardMs: undefined },
  ]);
  expect(problemsOf(status)).toEqual([
    "node vm-2 is not ready: last heard 65s ago",
    "node vm-2: nat table flushed",
    "node vm-3 is not ready: not heard since the server started",
  ]);
  expect(renderStatus(status, { server: "s", now: NOW, warnings: [] }).match(/nat table flushed/g)).toHaveLength(1);
});

test("status tells of the mass-failure brake once, and of what else is wrong there", () => {
  const silent = { ...host, ready: false, kept: true, lastHeardMs: 65_000 };
  const status = fleet([host, { ...silent, name: "vm-2" }, { ...silent, name: "vm-3", problems: ["disk full"] }]);
  expect(problemsOf(status)).toEqual([
    "2 hosts silent, kept: mass-failure brake, see `fairlead get events` (vm-2, vm-3)",
    "node vm-3: disk full",
  ]);
  expect(renderStatus(status, { server: "s", now: NOW, warnings: [] })).toMatch(/vm-2 +kept /);
});

test("status lists services that lead to nobody, and then does not say that all is well", () => {
  const status = { ...fleet([host]), idleServices: { count: 12, first: ["default/mail", "shop/web"] } };
  const text = renderStatus(status, { server: "s", now: NOW, warnings: [] });
  expect(text).toMatch(/lead to nobody who is ready.*:\n +NAME\n +default\/mail\n +shop\/web\n +… and 10 more\n/);
  expect(text).toMatch(/All hosts are well\.\n$/);
});

test("status shows the last five warnings, the newest last", () => {
  const warnings = Array.from({ length: 7 }, (_, i) =>
    parseObject("Event", {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: `e${i}` },
      involvedObject: { kind: "Node", name: `vm-${i}` },
      reason: "RulesRepaired",
      message: "put back",
      type: "Warning",
      lastTimestamp: `2026-01-01T23:50:0${i}Z`,
    }),
  );
  const text = renderStatus(fleet([host]), { server: "s", now: NOW, warnings: warnings.toReversed() });
  expect(text).toContain("Warnings of the last hour, the last 5 of 7 (`fairlead get events -A`)");
  expect(text.match(/node\/vm-\d/g)).toEqual(["node/vm-2", "node/vm-3", "node/vm-4", "node/vm-5", "node/vm-6"]);
});
