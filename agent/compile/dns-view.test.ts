import { expect, test } from "vitest";
import type { ClusterState } from "#agent/sync/state.ts";
import { EndpointSlice } from "#proto/endpoint-slice.ts";
import type { EndpointSliceInput } from "#proto/endpoint-slice.ts";
import { Namespace } from "#proto/namespace.ts";
import { Service } from "#proto/service.ts";
import type { ServiceInput } from "#proto/service.ts";
import { reverseName } from "./dns-records.ts";
import { compileDns, compileDnsChanges, compileDnsNamespace } from "./dns-view.ts";

function state(
  spec: ServiceInput["spec"],
  endpoints: EndpointSliceInput["endpoints"] = [],
  ports: EndpointSliceInput["ports"] = [],
): ClusterState {
  const service = Service.parse({ apiVersion: "v1", kind: "Service", metadata: { name: "web", namespace: "default" }, spec });
  const slice = EndpointSlice.parse({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "web-1", namespace: "default", labels: { "kubernetes.io/service-name": "web" } },
    addressType: "IPv4",
    endpoints,
    ports,
  });
  const slices = new Map([["default/web-1", slice]]);
  return {
    revision: 7,
    cluster: {
      domain: "cluster.local",
      serviceCidrs: ["10.96.0.0/16"],
      dnsIps: ["10.96.0.10"],
      nodePortRange: { from: 30_000, to: 32_767 },
      heartbeatIntervalMs: 1000,
      nodeTimeoutMs: 5000,
    },
    namespaces: new Map([["default", Namespace.parse({ apiVersion: "v1", kind: "Namespace", metadata: { name: "default" } })]]),
    nodes: new Map(),
    services: new Map([["default/web", service]]),
    slices,
    slicesByService: new Map([["default/web", slices]]),
    ownWorkloads: new Map(),
  };
}

/** `name type value`, without the suffix that all names share. */
function lines(of: ClusterState): string[] {
  return compileDns(of, "default/web").records.map((record) => {
    const value =
      record.type === "SRV"
        ? `${record.weight} ${record.port} ${record.target}`
        : "target" in record
          ? record.target
          : "address" in record
            ? record.address
            : record.text;
    return `${record.name} ${record.type} ${value}`.replaceAll("web.default.svc.cluster.local", "@");
  });
}

const http = [{ name: "http", port: 80, protocol: "TCP" as const }];
const a = { addresses: ["192.168.56.11"] };
const b = { addresses: ["192.168.56.12"], hostname: "b" };
const unready = { addresses: ["192.168.56.13"], conditions: { ready: false } };

test("a ClusterIP service has its virtual IP, SRV of its ports and a reverse name, also without endpoints", () => {
  expect(lines(state({ clusterIP: "10.96.0.7", ports: http })).toSorted()).toEqual([
    "7.0.96.10.in-addr.arpa PTR @",
    "@ A 10.96.0.7",
    "@ SRV 100 80 @",
    "_http._tcp.@ SRV 100 80 @",
  ]);
});

test("a service whose address is not allocated yet has no records", () => {
  expect(lines(state({ ports: http }))).toEqual([]);
});

test("both addresses of a dual stack service are there", () => {
  const found = lines(state({ clusterIP: "10.96.0.7", clusterIPs: ["10.96.0.7", "fd00::7"], ports: http }));
  expect(found).toContain("@ AAAA fd00::7");
  expect(found).toContain("@ A 10.96.0.7");
});

test("ready endpoints have names below their service, by their host name or address", () => {
  const found = lines(state({ clusterIP: "10.96.0.7", ports: http }, [a, b, unready]));
  expect(found.filter((line) => line.includes("192.168"))).toEqual(["192-168-56-11.@ A 192.168.56.11", "b.@ A 192.168.56.12"]);
});

test("a headless service has the address of each ready endpoint, SRV with the endpoints' ports, and reverse names", () => {
  expect(lines(state({ clusterIP: "None", ports: http }, [a, b, unready], [{ name: "http", port: 8080 }])).toSorted()).toEqual([
    "11.56.168.192.in-addr.arpa PTR 192-168-56-11.@",
    "12.56.168.192.in-addr.arpa PTR b.@",
    "192-168-56-11.@ A 192.168.56.11",
    "@ A 192.168.56.11",
    "@ A 192.168.56.12",
    "@ SRV 50 8080 192-168-56-11.@",
    "@ SRV 50 8080 b.@",
    "_http._tcp.@ SRV 50 8080 192-168-56-11.@",
    "_http._tcp.@ SRV 50 8080 b.@",
    "b.@ A 192.168.56.12",
  ]);
});

test("publishNotReadyAddresses names the endpoints that are not ready, too", () => {
  expect(lines(state({ clusterIP: "None", publishNotReadyAddresses: true }, [unready]))).toContain("@ A 192.168.56.13");
});

test("an endpoint that stands twice is one", () => {
  expect(lines(state({ clusterIP: "None" }, [a, a])).filter((line) => line.startsWith("@ A"))).toEqual(["@ A 192.168.56.11"]);
});

test("an ExternalName is an alias and nothing else", () => {
  expect(lines(state({ type: "ExternalName", externalName: "db.example.com" }, [a]))).toEqual(["@ CNAME db.example.com"]);
  expect(lines(state({ type: "ExternalName", externalName: "db.example.com." }, [a]))).toEqual(["@ CNAME db.example.com"]);
});

test("a service that is gone says nothing", () => {
  expect(compileDns(state({ clusterIP: "None" }), "default/gone")).toEqual({ source: "service default/gone", records: [], names: [] });
});

test("a namespace exists by name, and no more when it is gone", () => {
  const of = state({ clusterIP: "None" });
  expect(compileDnsNamespace(of, "default").names).toEqual(["default.svc.cluster.local", "default.pod.cluster.local"]);
  expect(compileDnsNamespace(of, "gone").names).toEqual([]);
});

test("only what was touched is compiled, and everything when all was", () => {
  const of = state({ clusterIP: "10.96.0.7", ports: http });
  const none = {
    revision: 8,
    all: false,
    services: new Set<string>(),
    namespaces: new Set<string>(),
    nodes: new Set<string>(),
    ownWorkloads: new Set<string>(),
  };
  expect(compileDnsChanges(of, none)).toEqual([]);
  expect(compileDnsChanges(of, { ...none, services: new Set(["default/web"]) }).map(({ source }) => source)).toEqual([
    "service default/web",
  ]);
  expect(compileDnsChanges(of, { ...none, all: true }).map(({ source }) => source)).toEqual([
    "domain",
    "namespace default",
    "service default/web",
  ]);
});

test("reverse names are octets of IPv4 and nibbles of IPv6", () => {
  expect(reverseName("10.96.0.7")).toBe("7.0.96.10.in-addr.arpa");
  expect(reverseName("fd00::7")).toBe("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa");
});

test("with an order, the addresses of a headless service say how much they are wanted, and others do not", () => {
  const near = { ...a, zone: "z1", weight: 3 };
  const far = { addresses: ["192.168.56.14"], zone: "z2" };
  const preferencesOf = (order: string | undefined, spec: ServiceInput["spec"] = { clusterIP: "None" }, zone?: string) => {
    const of = state(spec, [near, far]);
    const service = of.services.get("default/web");
    if (!service) throw new Error("no service");
    service.metadata.annotations = order === undefined ? undefined : { "fairlead.dev/dns-order": order };
    return compileDns(of, "default/web", zone).records.flatMap(({ name, type, ...more }) =>
      type === "A" && name.startsWith("web.") ? [more] : [],
    );
  };
  expect(preferencesOf("weighted")).toEqual([
    { address: "192.168.56.11", weight: 3 },
    { address: "192.168.56.14", weight: 1 },
  ]);
  expect(preferencesOf("same-zone-first", { clusterIP: "None" }, "z1")).toEqual([
    { address: "192.168.56.11", isNear: true },
    { address: "192.168.56.14", isNear: false },
  ]);
  expect(preferencesOf("same-zone-first")).toEqual([{ address: "192.168.56.11" }, { address: "192.168.56.14" }]); // this host has no zone
  expect(preferencesOf(undefined, { clusterIP: "None" }, "z1")).toEqual([{ address: "192.168.56.11" }, { address: "192.168.56.14" }]);
  expect(preferencesOf("weighted", { clusterIP: "10.96.0.7", ports: http })).toEqual([{ address: "10.96.0.7" }]);
});
