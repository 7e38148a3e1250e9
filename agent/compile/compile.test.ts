import { describe, expect, test } from "vitest";
import { aNode as node, aService, aSlice, aState, type SliceParts, type Spec } from "#test/states.ts";
import { compileChanges, compileHost, compileService, compileTable } from "./compile.ts";

const frontends = (spec: Spec, ...slices: SliceParts[]) =>
  compileService(aState([aService(spec)], slices.map(aSlice)), node, "default/web")?.frontends ?? [];
const targets = (spec: Spec, ...slices: SliceParts[]): string[] =>
  frontends(spec, ...slices).flatMap(({ backends }) => backends.map(({ address, port }) => `${address}:${port}`));

describe("which endpoints", () => {
  const ready = { addresses: ["172.30.0.2"] };
  const unready = { addresses: ["172.30.0.3"], conditions: { ready: false, serving: false } };
  const going = { addresses: ["172.30.0.4"], conditions: { ready: false, serving: true, terminating: true } };
  const gone = { addresses: ["172.30.0.5"], conditions: { ready: false, serving: false, terminating: true } };

  test("only the ready ones, and absent conditions mean ready", () => {
    expect(targets({}, { endpoints: [ready, unready, going] })).toEqual(["172.30.0.2:8080"]);
  });

  test("where none is ready, those that are going and still serve", () => {
    expect(targets({}, { endpoints: [unready, going, gone] })).toEqual(["172.30.0.4:8080"]);
  });

  test("where none serves, nobody, and clients are refused", () => {
    expect(frontends({}, { endpoints: [unready, gone] })).toMatchObject([{ backends: [], whenEmpty: "reject" }]);
  });

  test("a service without slices is a frontend that refuses", () => {
    expect(frontends({})).toMatchObject([{ id: "default/web:http", address: "10.96.0.10", port: 80, backends: [], whenEmpty: "reject" }]);
  });

  test("publishNotReadyAddresses takes the unready too", () => {
    expect(targets({ publishNotReadyAddresses: true }, { endpoints: [ready, unready] })).toEqual(["172.30.0.2:8080", "172.30.0.3:8080"]);
  });

  test("of the same address and port seen twice, the one that is not terminating wins, whatever the order", () => {
    const again = { addresses: ["172.30.0.4"], nodeName: "h4" };
    for (const pair of [
      [going, again],
      [again, going],
    ] as const)
      // prettier-ignore
      expect(targets({}, { name: "web-1", endpoints: [pair[0]] }, { name: "web-2", endpoints: [pair[1]] })).toEqual(["172.30.0.4:8080"]);
  });

  test("several slices add up, sorted and each once", () => {
    const slices = [
      { name: "web-2", endpoints: [{ addresses: ["172.30.0.9"] }, ready] },
      { name: "web-1", endpoints: [ready] },
    ];
    expect(targets({}, ...slices)).toEqual(["172.30.0.2:8080", "172.30.0.9:8080"]);
  });

  test("only the first of an endpoint's addresses is used", () => {
    expect(targets({}, { endpoints: [{ addresses: ["172.30.0.2", "172.30.0.3"] }] })).toEqual(["172.30.0.2:8080"]);
  });

  test("a slice without the label belongs to nobody", () => {
    expect(targets({}, { endpoints: [ready], service: null })).toEqual([]);
  });

  test("slices map ports by name and protocol, and a port without a number is passed over", () => {
    const ports = [
      { name: "http", port: 8080 },
      { name: "metrics", port: 9090 },
      { name: "dns", port: 53, protocol: "UDP" as const },
      { name: "none" },
    ];
    const spec: Spec = {
      ports: [
        { name: "metrics", port: 90 },
        { name: "http", port: 80 },
        { name: "dns", port: 53, protocol: "TCP" },
        { name: "none", port: 99 },
      ],
    };
    expect(frontends(spec, { endpoints: [ready], ports }).map(({ id, backends }) => [id, backends.map(({ port }) => port)])).toEqual([
      ["default/web:dns", []],
      ["default/web:http", [8080]],
      ["default/web:metrics", [9090]],
      ["default/web:none", []],
    ]);
  });

  test("the same number with TCP, UDP and SCTP is three things", () => {
    const protocols = ["TCP", "UDP", "SCTP"] as const;
    const found = frontends(
      { ports: protocols.map((protocol) => ({ name: protocol.toLowerCase(), port: 53, protocol })) },
      { endpoints: [ready], ports: protocols.map((protocol, i) => ({ name: protocol.toLowerCase(), port: 1053 + i, protocol })) },
    );
    expect(found.map(({ protocol, port, backends }) => [protocol, port, backends[0]?.port])).toEqual([
      ["SCTP", 53, 1055],
      ["TCP", 53, 1053],
      ["UDP", 53, 1054],
    ]);
  });

  test("policy Local takes the local ones alone, falls back to a local one that is going, and drops where all are elsewhere", () => {
    const here = { addresses: ["10.200.1.11"], nodeName: "h1" };
    const leaving = { ...here, conditions: { ready: false, serving: true, terminating: true } };
    const policy: Spec = { internalTrafficPolicy: "Local" };
    expect(targets(policy, { endpoints: [ready, here] })).toEqual(["10.200.1.11:8080"]);
    expect(targets(policy, { endpoints: [ready, leaving] })).toEqual(["10.200.1.11:8080"]);
    expect(frontends(policy, { endpoints: [ready] })).toMatchObject([{ backends: [], whenEmpty: "drop" }]);
    expect(frontends(policy, { endpoints: [unready] })).toMatchObject([{ backends: [], whenEmpty: "reject" }]);
  });

  test("local is what names this node, or has an address of it where no node is named", () => {
    const endpoints = [
      { addresses: ["10.200.1.11"] },
      { addresses: ["10.200.1.12"], nodeName: "h2" },
      { addresses: ["172.30.0.1"] },
      { addresses: ["172.30.0.9"], nodeName: "h1" },
    ];
    expect(frontends({}, { endpoints })[0]?.backends.map(({ address, isLocal }) => [address, isLocal])).toEqual([
      ["10.200.1.11", true],
      ["10.200.1.12", false],
      ["172.30.0.1", true],
      ["172.30.0.9", true],
    ]);
  });

  test("weights are kept, 1 where there is none, and 0 takes nothing", () => {
    const endpoints = [{ ...ready, weight: 3 }, { addresses: ["172.30.0.6"] }, { addresses: ["172.30.0.7"], weight: 0 }];
    expect(frontends({}, { endpoints })[0]?.backends.map(({ weight }) => weight)).toEqual([3, 1]);
  });

  test("a UDP service says who may finish, a TCP service need not", () => {
    const udp = { ports: [{ name: "dns", port: 53, protocol: "UDP" as const }] };
    const slice = { endpoints: [ready, going, gone] };
    expect(frontends(udp, { ...slice, ports: [{ name: "dns", port: 53, protocol: "UDP" }] })[0]?.draining).toEqual([
      { address: "172.30.0.4", port: 53 },
    ]);
    expect(frontends({}, slice)[0]?.draining).toEqual([]);
  });
});

describe("which services", () => {
  const endpoints = [{ addresses: ["172.30.0.2"] }];

  test("headless and ExternalName mean nothing to the kernel", () => {
    expect(frontends({ clusterIP: "None" }, { endpoints })).toEqual([]);
    const external = aService({ type: "ExternalName", externalName: "example.com", clusterIP: undefined, ports: [] });
    expect(compileService(aState([external], []), node, "default/web")).toBeUndefined();
  });

  test("one that names another proxy is that proxy's", () => {
    const service = aService();
    const labels = { "service.kubernetes.io/service-proxy-name": "other" };
    const theirs = { ...service, metadata: { ...service.metadata, labels } };
    expect(compileService(aState([theirs], [aSlice({ endpoints })]), node, "default/web")).toBeUndefined();
  });

  test("a dual-stack service has a frontend in each family, with the endpoints of that family", () => {
    const spec: Spec = { clusterIPs: ["10.96.0.10", "fd10::10"], ipFamilies: ["IPv4", "IPv6"] };
    const six = { name: "web-6", addressType: "IPv6" as const, endpoints: [{ addresses: ["fd30::2"] }] };
    expect(frontends(spec, { endpoints }, six).map(({ family, address, backends }) => [family, address, backends[0]?.address])).toEqual([
      ["IPv4", "10.96.0.10", "172.30.0.2"],
      ["IPv6", "fd10::10", "fd30::2"],
    ]);
  });

  test("affinity has its timeout, three hours by default", () => {
    expect(frontends({}, { endpoints })[0]?.affinitySeconds).toBeUndefined();
    expect(frontends({ sessionAffinity: "ClientIP" }, { endpoints })[0]?.affinitySeconds).toBe(10_800);
    const config = { sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: 7 } } } as const;
    expect(frontends(config, { endpoints })[0]?.affinitySeconds).toBe(7);
  });

  test("the DNS service's address is the agent's own, unless the service has endpoints", () => {
    expect(frontends({ clusterIP: "10.96.0.2" })).toEqual([]);
    expect(frontends({ clusterIP: "10.96.0.2" }, { endpoints })).toHaveLength(1);
  });
});

describe("changes", () => {
  const endpoints = [{ addresses: ["172.30.0.2"] }];

  test("only touched services are looked at, and only those that mean something else are changed", () => {
    const before = aState([aService(), aService({ clusterIP: "10.96.0.11" }, "api")], [aSlice({ endpoints })]);
    const held = compileTable(before, node).services;
    const after = aState([aService(), aService({ clusterIP: "10.96.0.12" }, "api")], [aSlice({ endpoints, name: "renamed" })]);
    expect(compileChanges(held, after, { services: new Set(["default/web"]) }, node)).toEqual([]);
    expect(compileChanges(held, after, { services: new Set(["default/web", "default/api"]) }, node)).toMatchObject([
      { key: "default/api", previous: { frontends: [{ address: "10.96.0.11" }] }, next: { frontends: [{ address: "10.96.0.12" }] } },
    ]);
  });

  test("a service that is gone, or became headless, has no next", () => {
    const held = compileTable(aState([aService()], []), node).services;
    for (const state of [aState([], []), aState([aService({ clusterIP: "None" })], [])])
      expect(compileChanges(held, state, { services: new Set(["default/web"]) }, node)).toMatchObject([
        { key: "default/web", next: undefined },
      ]);
  });

  test("a host forwards in the families in which services are reached from elsewhere", () => {
    const nodePort = { type: "NodePort" as const, ports: [{ name: "http", port: 80, nodePort: 30080 }] };
    const forwards = (...specs: Spec[]) =>
      compileTable(
        aState(
          specs.map((spec, i) => aService(spec, `s${i}`)),
          [],
        ),
        node,
      ).host.forwards;
    expect(forwards({})).toEqual([]);
    expect(forwards({}, nodePort)).toEqual(["IPv4"]);
    expect(forwards({ ...nodePort, clusterIPs: ["10.96.0.10", "fd10::10"] })).toEqual(["IPv4", "IPv6"]);
    expect(forwards({ externalIPs: ["127.0.0.1"] })).toEqual([]);
  });

  test("the host's part is canonical", () => {
    const host = compileHost(aState([], []), { ...node, localCidrs: ["10.200.2.0/24", "10.200.1.0/24", "10.200.1.0/24", "junk"] }, [
      "IPv4",
    ]);
    expect(host).toEqual({
      serviceCidrs: ["10.96.0.0/16", "fd10::/112"],
      nodeIps: ["172.30.0.1"],
      localCidrs: ["10.200.1.0/24", "10.200.2.0/24"],
      dnsIps: ["10.96.0.2"],
      masqueradeAll: false,
      nodePortCidrs: [],
      forwards: ["IPv4"],
    });
  });
});
