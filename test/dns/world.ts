import { everyDnsChange } from "#agent/compile/dns-view.ts";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { EndpointSlice, type EndpointSliceInput } from "#proto/endpoint-slice.ts";
import { Namespace } from "#proto/namespace.ts";
import { Node } from "#proto/node.ts";
import { Service, type ServiceInput } from "#proto/service.ts";
import { aState } from "#test/states.ts";

/** What the table of questions is asked about: objects as users write them, through the real compile. */

export const Z = "cluster.local";
export const FACTS = {
  domain: Z,
  moreDomains: ["corp.example"],
  serviceCidrs: ["10.96.0.0/16", "fd10::/112"],
  dnsIps: ["10.96.0.10", "fd10::a"],
};

interface Written {
  readonly spec: ServiceInput["spec"];
  readonly namespace?: string;
  readonly annotations?: Record<string, string>;
  readonly endpoints?: EndpointSliceInput["endpoints"];
  readonly endpoints6?: EndpointSliceInput["endpoints"];
  readonly ports?: EndpointSliceInput["ports"];
}

const http = { name: "http", port: 80 };
const http8080 = [{ name: "http", port: 8080 }];
const at = (address: string, more: object = {}) => ({ addresses: [address], ...more });

const services: Readonly<Record<string, Written>> = {
  web: {
    spec: { clusterIP: "10.96.1.1", ports: [http, { name: "dns", port: 53, protocol: "UDP" }] },
    endpoints: [at("192.168.56.11"), at("192.168.56.12", { hostname: "b" })],
    ports: http8080,
  },
  dual: {
    spec: { clusterIP: "10.96.1.2", clusterIPs: ["10.96.1.2", "fd10::12"], ports: [http] },
    endpoints: [at("192.168.56.21")],
    endpoints6: [at("fd00::21"), at("fd00::")],
    ports: http8080,
  },
  six: { spec: { clusterIP: "fd10::16", ipFamilies: ["IPv6"], ports: [{ port: 80 }] } },
  idle: { spec: { clusterIP: "10.96.1.3", ports: [http] } },
  db: {
    spec: { clusterIP: "None", ports: [http] },
    endpoints: [
      at("192.168.56.31", { hostname: "db-0" }),
      at("192.168.56.32", { hostname: "db-1" }),
      at("192.168.56.33", { hostname: "db-2", conditions: { ready: false } }),
    ],
    ports: http8080,
  },
  dbdual: {
    spec: { clusterIP: "None", ports: [http] },
    endpoints: [at("192.168.56.41", { hostname: "n" })],
    endpoints6: [at("fd00::41", { hostname: "n" })],
    ports: http8080,
  },
  early: {
    spec: { clusterIP: "None", publishNotReadyAddresses: true },
    endpoints: [at("192.168.56.51", { hostname: "e", conditions: { ready: false } })],
  },
  none: { spec: { clusterIP: "None", ports: [http] } },
  many: {
    spec: { clusterIP: "None" },
    endpoints: Array.from({ length: 200 }, (_, i) => at(`192.168.57.${i + 1}`)),
  },
  inside: { spec: { type: "ExternalName", externalName: `web.default.svc.${Z}` }, endpoints: [at("192.168.56.61")] },
  second: { spec: { type: "ExternalName", externalName: `inside.default.svc.${Z}.` } },
  nowhere: { spec: { type: "ExternalName", externalName: `missing.default.svc.${Z}` } },
  round: { spec: { type: "ExternalName", externalName: `round.default.svc.${Z}` } },
  outside: { spec: { type: "ExternalName", externalName: "www.upstream.test" } },
  gone: { spec: { type: "ExternalName", externalName: "nope.upstream.test" } },
  web2: { namespace: "prod", spec: { clusterIP: "10.96.1.5", ports: [http] } },
};

/** `more`: what a test adds. */
export function dnsWorld(more: Readonly<Record<string, Written>> = {}): readonly DnsChange[] {
  const all = Object.entries({ ...services, ...more });
  const state = aState(
    all.map(([name, { spec, namespace = "default", annotations }]) =>
      Service.parse({ apiVersion: "v1", kind: "Service", metadata: { name, namespace, annotations }, spec }),
    ),
    all.flatMap(([name, { endpoints, endpoints6, ports = [], namespace = "default" }]) => [
      ...sliceOf(name, namespace, "IPv4", endpoints, ports),
      ...sliceOf(name, namespace, "IPv6", endpoints6, ports),
    ]),
    {
      namespaces: new Map(["default", "prod", "empty"].map((name) => [name, namespaceOf(name)])),
      nodes: new Map([
        ["h1", nodeOf("h1", "192.168.56.1", "fd00::1")],
        ["rack1.h2", nodeOf("rack1.h2", "192.168.56.2")],
      ]),
    },
  );
  return [...everyDnsChange({ ...state, ...(state.cluster && { cluster: { ...state.cluster, ...FACTS } }) })];
}

function sliceOf(
  service: string,
  namespace: string,
  addressType: "IPv4" | "IPv6",
  endpoints: EndpointSliceInput["endpoints"] | undefined,
  ports: EndpointSliceInput["ports"],
): EndpointSlice[] {
  if (!endpoints) return [];
  const metadata = { name: `${service}-${addressType.toLowerCase()}`, namespace, labels: { "kubernetes.io/service-name": service } };
  return [EndpointSlice.parse({ apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", metadata, addressType, endpoints, ports })];
}

function nodeOf(name: string, ...addresses: readonly string[]): Node {
  const status = { addresses: addresses.map((address) => ({ type: "InternalIP", address })) };
  return Node.parse({ apiVersion: "v1", kind: "Node", metadata: { name }, spec: {}, status });
}

function namespaceOf(name: string): Namespace {
  return Namespace.parse({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
}
