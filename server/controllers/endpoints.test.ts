import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { EndpointSlice } from "#proto/endpoint-slice.ts";
import type { AnyObject } from "#proto/kinds.ts";
import { parseObject } from "#proto/parse.ts";
import type { Service } from "#proto/service.ts";
import { planSlices, type SliceDraft, type SlicePlan } from "./endpoints.ts";
import { createFleetView, type FleetView, type NodeFacts, type WorkloadFacts } from "./fleet-view.ts";

function aService(spec: object = {}, metadata: object = {}): Service {
  return parseObject("Service", {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "default", uid: "u", ...metadata },
    spec: {
      selector: { app: "web" },
      clusterIP: "10.96.0.1",
      ipFamilies: ["IPv4"],
      ports: [{ name: "http", port: 80, targetPort: "http" }],
      ...spec,
    },
  });
}

function aWorkload(name: string, over: Partial<WorkloadFacts> = {}): WorkloadFacts {
  return {
    namespace: "default",
    name,
    uid: `uid-${name}`,
    labels: { app: "web" },
    node: "vm-1",
    address: "192.168.1.11",
    ports: [{ name: "http", port: 8080, protocol: "TCP" }],
    reach: "Fleet",
    weight: 1,
    passesChecks: true,
    terminating: false,
    ...over,
  };
}

const healthy: NodeFacts = { serving: true, unschedulable: false, zone: undefined };

function plan(
  service: Service,
  workloads: WorkloadFacts[],
  existing: EndpointSlice[] = [],
  node: NodeFacts | undefined = healthy,
): SlicePlan {
  let made = 0;
  return planSlices({ service, workloads, existing, node: () => node, newName: () => `web-${existing.length + ++made}` });
}

function stored(draft: SliceDraft): EndpointSlice {
  const { name, labels, ...rest } = draft;
  return { apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", metadata: { name, namespace: "default", labels }, ...rest };
}

/** The slices after the plan was carried out. */
function carriedOut(existing: readonly EndpointSlice[], { create, replace, remove }: SlicePlan): EndpointSlice[] {
  const gone = new Set(remove.map(({ metadata }) => metadata.name));
  const changed = new Map(replace.map(({ draft }) => [draft.name, stored(draft)]));
  return [
    ...existing.filter(({ metadata }) => !gone.has(metadata.name)).map((slice) => changed.get(slice.metadata.name) ?? slice),
    ...create.map(stored),
  ];
}

describe("conditions", () => {
  const rows: { name: string; workload?: Partial<WorkloadFacts>; node?: NodeFacts; spec?: object; want: [boolean, boolean, boolean] }[] = [
    { name: "all is well", want: [true, true, false] },
    { name: "its checks fail", workload: { passesChecks: false }, want: [false, false, false] },
    { name: "it drains", workload: { terminating: true }, want: [false, true, true] },
    { name: "it drains and its checks fail", workload: { terminating: true, passesChecks: false }, want: [false, false, true] },
    { name: "its host is lost", node: { ...healthy, serving: false }, want: [false, false, false] },
    { name: "its host is drained", node: { ...healthy, unschedulable: true }, want: [false, true, true] },
    {
      name: "not-ready addresses are published",
      workload: { passesChecks: false },
      spec: { publishNotReadyAddresses: true },
      want: [true, false, false],
    },
  ];
  test.for(rows)("$name", ({ workload, node, spec, want }) => {
    const { create } = plan(aService(spec), [aWorkload("web-1", workload)], [], node ?? healthy);
    const [ready, serving, terminating] = want;
    expect(create[0]?.endpoints[0]?.conditions).toEqual({ ready, serving, terminating });
  });

  test("a host that is not there serves nothing", () => {
    const { create } = planSlices({
      service: aService(),
      workloads: [aWorkload("web-1")],
      existing: [],
      node: () => undefined,
      newName: () => "x",
    });
    expect(create[0]?.endpoints[0]?.conditions).toEqual({ ready: false, serving: false, terminating: false });
  });
});

test("an endpoint says who it is and where", () => {
  const { create } = plan(aService(), [aWorkload("web-1", { weight: 3 })], [], { ...healthy, zone: "east" });
  expect(create).toEqual([
    {
      name: "web-1",
      addressType: "IPv4",
      ports: [{ name: "http", protocol: "TCP", port: 8080 }],
      labels: { "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpoints.fairlead.dev" },
      endpoints: [
        {
          addresses: ["192.168.1.11"],
          conditions: { ready: true, serving: true, terminating: false },
          hostname: "web-1",
          nodeName: "vm-1",
          zone: "east",
          weight: 3,
          targetRef: { kind: "Workload", namespace: "default", name: "web-1", uid: "uid-web-1" },
        },
      ],
    },
  ]);
});

describe("hints", () => {
  const zone = [{ name: "east" }];
  const own = [{ name: "vm-1" }];
  test.for<[policy: string | undefined, zone: string | undefined, want: object | undefined]>([
    [undefined, "east", undefined],
    ["PreferClose", "east", { forZones: zone }],
    ["PreferSameZone", "east", { forZones: zone }],
    ["PreferSameZone", undefined, undefined],
    ["PreferSameNode", "east", { forZones: zone, forNodes: own }],
    ["PreferSameNode", undefined, { forNodes: own }],
  ])("of %s in the zone %s: %j", ([trafficDistribution, inZone, want]) => {
    const { create } = plan(aService({ trafficDistribution }), [aWorkload("web-1")], [], { ...healthy, zone: inZone });
    expect(create[0]?.endpoints[0]?.hints).toEqual(want);
  });

  test("only ready endpoints have them, one that is published unready among these", () => {
    const draining = aWorkload("web-1", { terminating: true });
    const spec = { trafficDistribution: "PreferSameNode" };
    expect(plan(aService(spec), [draining]).create[0]?.endpoints[0]).not.toHaveProperty("hints");
    expect(plan(aService({ ...spec, publishNotReadyAddresses: true }), [draining]).create[0]?.endpoints[0]).toHaveProperty("hints");
  });

  test("of 250 endpoints, the zone of one host changes those slices that have its endpoints, and the field's end all", () => {
    const many = Array.from({ length: 250 }, (_, i) =>
      aWorkload(`web-${String(i).padStart(3, "0")}`, { node: i === 120 ? "vm-2" : "vm-1" }),
    );
    const service = aService({ trafficDistribution: "PreferClose" });
    const from = (existing: EndpointSlice[], of: Service, zoneOfOther: string) =>
      planSlices({
        service: of,
        workloads: many,
        existing,
        node: (name) => ({ ...healthy, zone: name === "vm-2" ? zoneOfOther : "east" }),
        newName: () => `web-${++made}`,
      });
    let made = 0;
    const existing = carriedOut([], from([], service, "east"));
    const moved = from(existing, service, "west");
    expect([moved.create.length, moved.replace.length, moved.remove.length]).toEqual([0, 1, 0]);
    const gone = from(existing, aService(), "east");
    expect([gone.create.length, gone.replace.length, gone.remove.length]).toEqual([0, 3, 0]);
    expect(gone.replace.flatMap(({ draft }) => draft.endpoints).some(({ hints }) => hints !== undefined)).toBe(false);
  });
});

test.for([0, 1, 7])("a weight of %i is told, and 1 goes without saying", (weight) => {
  const { create } = plan(aService(), [aWorkload("web-1", { weight })]);
  expect(create[0]?.endpoints[0]?.weight).toBe(weight === 1 ? undefined : weight);
});

test("a named targetPort that differs between workloads makes a slice for each number", () => {
  const other = aWorkload("web-2", { ports: [{ name: "http", port: 9090, protocol: "TCP" }] });
  const { create } = plan(aService(), [aWorkload("web-1"), other]);
  expect(create.map(({ ports, endpoints }) => [ports[0]?.port, endpoints.map(({ hostname }) => hostname)])).toEqual([
    [8080, ["web-1"]],
    [9090, ["web-2"]],
  ]);
});

test("a workload without the named port, or with it in another protocol, is no endpoint", () => {
  const none = aWorkload("a", { ports: [] });
  const udp = aWorkload("b", { ports: [{ name: "http", port: 8080, protocol: "UDP" }] });
  expect(plan(aService(), [none, udp]).create).toEqual([]);
});

test("a numeric targetPort needs no port of the workload, and an absent one is the port itself", () => {
  const numeric = aService({
    ports: [
      { name: "a", port: 80, targetPort: 8080 },
      { name: "b", port: 53, protocol: "UDP" },
    ],
  });
  expect(plan(numeric, [aWorkload("web-1", { ports: [] })]).create[0]?.ports).toEqual([
    { name: "a", protocol: "TCP", port: 8080 },
    { name: "b", protocol: "UDP", port: 53 },
  ]);
});

test("a numeric targetPort is the container's port, where an engine publishes it as another", () => {
  const published = aWorkload("web-1", { ports: [{ port: 18_080, containerPort: 80, protocol: "TCP" }] });
  const numeric = (targetPort?: number) => aService({ ports: [{ port: 80, ...(targetPort !== undefined && { targetPort }) }] });
  for (const service of [numeric(), numeric(80)]) expect(plan(service, [published]).create[0]?.ports[0]?.port).toBe(18_080);
  expect(plan(numeric(18_080), [published]).create[0]?.ports[0]?.port).toBe(18_080);
});

test("what only its own host reaches stands in slices of its own, which no other proxy reads", () => {
  const workloads = [aWorkload("web-1"), aWorkload("web-2", { address: "172.17.0.2", reach: "Node" })];
  const { create } = plan(aService(), workloads);
  expect(create.map(({ labels, endpoints }) => [labels["fairlead.dev/reach"], endpoints.map(({ hostname }) => hostname)])).toEqual([
    [undefined, ["web-1"]],
    ["Node", ["web-2"]],
  ]);
  expect(create[1]?.labels).toHaveProperty(["service.kubernetes.io/service-proxy-name"], "fairlead");
  expect(plan(aService(), workloads, carriedOut([], { create, replace: [], remove: [] }))).toEqual({ create: [], replace: [], remove: [] });
});

test("what its own host does not reach stands in slices of its own as well, which other proxies may read", () => {
  const { create } = plan(aService(), [aWorkload("web-1"), aWorkload("web-2", { address: "192.168.56.200", reach: "OtherNodes" })]);
  expect(create.map(({ labels }) => labels["fairlead.dev/reach"])).toEqual([undefined, "OtherNodes"]);
  expect(create[1]?.labels).not.toHaveProperty(["service.kubernetes.io/service-proxy-name"]);
});

test("a headless service is labelled so, and one without ports has its endpoints all the same", () => {
  const headless = aService({ clusterIP: "None", ports: [] });
  const { create } = plan(headless, [aWorkload("web-1")]);
  expect(create[0]?.labels).toHaveProperty(["service.kubernetes.io/headless"], "");
  expect(create[0]?.endpoints).toHaveLength(1);
});

test("families have slices of their own, and only those of the service", () => {
  const six = aWorkload("web-2", { address: "fd00::2" });
  expect(plan(aService({ ipFamilies: ["IPv4", "IPv6"] }), [aWorkload("web-1"), six]).create.map(({ addressType }) => addressType)).toEqual([
    "IPv4",
    "IPv6",
  ]);
  expect(plan(aService(), [aWorkload("web-1"), six]).create).toHaveLength(1);
});

test("the same state again changes nothing", () => {
  const workloads = [aWorkload("web-1"), aWorkload("web-2")];
  const existing = carriedOut([], plan(aService(), workloads));
  expect(plan(aService(), workloads, existing)).toEqual({ create: [], replace: [], remove: [] });
});

test("of 250 endpoints one change rewrites one slice, and a new one joins a slice with room", () => {
  const many = Array.from({ length: 250 }, (_, i) => aWorkload(`web-${String(i).padStart(3, "0")}`));
  const existing = carriedOut([], plan(aService(), many));
  expect(existing.map(({ endpoints }) => endpoints.length)).toEqual([100, 100, 50]);
  const failing = many.map((one) => (one.name === "web-120" ? { ...one, passesChecks: false } : one));
  const change = plan(aService(), failing, existing);
  expect([change.create.length, change.replace.length, change.remove.length]).toEqual([0, 1, 0]);
  const joined = plan(aService(), [...many, aWorkload("zzz")], existing);
  expect(joined.replace.map(({ draft }) => draft.endpoints.length)).toEqual([51]);
  expect(joined.create).toEqual([]);
});

test("the last endpoint takes its slice along, and ExternalName has none", () => {
  const existing = carriedOut([], plan(aService(), [aWorkload("web-1")]));
  expect(plan(aService(), [], existing).remove).toHaveLength(1);
  const external = parseObject("Service", {
    ...aService(),
    spec: { type: "ExternalName", externalName: "example.com", selector: { app: "web" } },
  });
  expect(plan(external, [aWorkload("web-1")], existing).remove).toHaveLength(1);
});

describe("step by step", () => {
  const SERVICES = ["a", "b", "c"];
  const aStep = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        what: fc.constant("workload" as const),
        name: fc.constantFrom("w1", "w2", "w3", "w4", "w5", "w6"),
        gone: fc.boolean(),
        app: fc.constantFrom("a", "b", "x"),
        tier: fc.constantFrom("front", "back"),
        node: fc.constantFrom("n1", "n2"),
        port: fc.constantFrom(8080, 9090),
        drain: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        what: fc.constant("service" as const),
        name: fc.constantFrom(...SERVICES),
        gone: fc.boolean(),
        selector: fc.constantFrom({ app: "a" }, { app: "b", tier: "front" }, { tier: "back" }),
        targetPort: fc.constantFrom("http", 80),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        what: fc.constant("node" as const),
        name: fc.constantFrom("n1", "n2"),
        gone: fc.boolean(),
        status: fc.constantFrom("True" as const, "Unknown" as const),
        unschedulable: fc.boolean(),
      }),
    },
  );
  type Step = typeof aStep extends fc.Arbitrary<infer T> ? T : never;

  function objectOf(step: Step): AnyObject {
    if (step.what === "workload")
      return parseObject("Workload", {
        apiVersion: "fairlead.dev/v1",
        kind: "Workload",
        metadata: { name: step.name, namespace: "default", labels: { app: step.app, tier: step.tier } },
        spec: { node: step.node, address: "192.168.1.11", ports: [{ name: "http", port: step.port }], drain: step.drain },
      });
    if (step.what === "service")
      return aService({ selector: step.selector, ports: [{ port: 80, targetPort: step.targetPort }] }, { name: step.name });
    return parseObject("Node", {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: step.name },
      spec: { unschedulable: step.unschedulable },
      status: { conditions: [{ type: "Ready", status: step.status }] },
    });
  }

  function endpointsIn(slices: readonly EndpointSlice[]): unknown[] {
    return slices
      .flatMap(({ addressType, ports, endpoints }) => endpoints.map((endpoint) => JSON.stringify({ addressType, ports, endpoint })))
      .toSorted();
  }

  function planFor(view: FleetView, service: Service, existing: readonly EndpointSlice[], newName: () => string): EndpointSlice[] {
    const workloads = view.workloadsFor(service);
    return carriedOut(existing, planSlices({ service, workloads, existing, node: (name) => view.node(name), newName }));
  }

  test("looking only at what a change touches gives the endpoints that starting over gives", () => {
    fc.assert(
      fc.property(fc.array(aStep, { maxLength: 60 }), (steps) => {
        const view = createFleetView();
        const current = new Map<string, AnyObject>();
        const slices = new Map<string, EndpointSlice[]>();
        let names = 0;
        const newName = (): string => `s${++names}`;
        for (const step of steps) {
          const object = objectOf(step);
          const key = `${object.kind}/${step.name}`;
          if (step.gone && !current.has(key)) continue;
          const type = step.gone ? "DELETED" : current.has(key) ? "MODIFIED" : "ADDED";
          if (step.gone) current.delete(key);
          else current.set(key, object);
          for (const touched of view.apply([{ type, object }])) {
            const service = current.get(`Service/${touched.split("/")[1] ?? ""}`);
            slices.set(touched, service?.kind === "Service" ? planFor(view, service, slices.get(touched) ?? [], newName) : []);
          }
        }
        const fresh = createFleetView();
        fresh.apply([...current.values()].map((object) => ({ type: "ADDED", object })));
        for (const name of SERVICES) {
          const service = current.get(`Service/${name}`);
          const want = service?.kind === "Service" ? planFor(fresh, service, [], newName) : [];
          expect(endpointsIn(slices.get(`default/${name}`) ?? [])).toEqual(endpointsIn(want));
        }
      }),
      { numRuns: 300 },
    );
  });
});
