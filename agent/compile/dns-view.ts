import type { ClusterState, Touched } from "#agent/sync/state.ts";
import type { ClusterFacts } from "#proto/agents.ts";
import { formatIp, parseIp } from "#proto/ip.ts";
import type { ObjectKey } from "#proto/meta.ts";
import { clusterIpsOf, isHeadless, withoutRootDot } from "#proto/service.ts";
import type { Service } from "#proto/service.ts";

/**
 * What the names of the cluster domain stand for, as plain data that can cross to another thread. Names are lower-case, with dots between the labels and
 * none at the end; labels come from the API, which allows no dot in them.
 */
export type DnsRecord =
  | { readonly name: string; readonly type: "A" | "AAAA"; readonly address: string }
  | { readonly name: string; readonly type: "CNAME" | "NS"; readonly target: string }
  | { readonly name: string; readonly type: "SRV"; readonly weight: number; readonly port: number; readonly target: string }
  /** `of`: a virtual IP's name wins over those of endpoints. */
  | { readonly name: string; readonly type: "PTR"; readonly of: "virtual-ip" | "endpoint"; readonly target: string }
  | { readonly name: string; readonly type: "TXT"; readonly text: string; readonly ttl: number };

/** A record without the name that it stands at. */
export type RecordData = DnsRecord extends infer One ? (One extends DnsRecord ? Omit<One, "name"> : never) : never;

/** All that one source (a Service, a Namespace, the domain itself) says; takes the place of what the source said before. */
export interface DnsChange {
  readonly source: string;
  /** Empty = the source says nothing any more. */
  readonly records: readonly DnsRecord[];
  /** Names that exist without records of their own: NODATA there, not NXDOMAIN. */
  readonly names: readonly string[];
}

const SCHEMA_VERSION = "1.1.0";
const SCHEMA_TTL_SECONDS = 28_800;
const WEIGHT_SUM = 100;

/** The changes that follow from what was touched; with `touched.all`, everything there is. */
export function compileDnsChanges(state: ClusterState, touched: Touched): DnsChange[] {
  const services = touched.all ? state.services.keys() : touched.services;
  const namespaces = touched.all ? state.namespaces.keys() : touched.namespaces;
  return [...Array.from(namespaces, (name) => compileDnsNamespace(state, name)), ...Array.from(services, (key) => compileDns(state, key))];
}

/** One Service's records. */
export function compileDns(state: ClusterState, key: ObjectKey): DnsChange {
  const source = `service ${key}`;
  const service = state.services.get(key);
  const domain = state.cluster?.domain;
  if (!service || domain === undefined) return { source, records: [], names: [] };
  const name = `${service.metadata.name}.${service.metadata.namespace ?? "default"}.svc.${domain}`;
  return { source, records: canonical(recordsOf(service, name, endpointsOf(state, service))), names: [] };
}

export function compileDnsNamespace(state: ClusterState, name: ObjectKey): DnsChange {
  const domain = state.cluster?.domain;
  const exists = domain !== undefined && state.namespaces.has(name);
  return { source: `namespace ${name}`, records: [], names: exists ? [`${name}.svc.${domain}`, `${name}.pod.${domain}`] : [] };
}

/** What the domain says by itself: version of the schema, its name server and its address. */
export function compileDnsDomain({ domain, dnsIps }: Pick<ClusterFacts, "domain" | "dnsIps">): DnsChange {
  const server = `ns.dns.${domain}`;
  const records: DnsRecord[] = [
    { name: `dns-version.${domain}`, type: "TXT", text: SCHEMA_VERSION, ttl: SCHEMA_TTL_SECONDS },
    { name: domain, type: "NS", target: server },
    ...dnsIps.flatMap((address) => addressRecord(server, address)),
  ];
  return { source: "domain", records, names: [domain, `svc.${domain}`, `pod.${domain}`] };
}

/** `10.0.96.10.in-addr.arpa`, or the nibbles below ip6.arpa; undefined when `address` is no IP. */
export function reverseName(address: string): string | undefined {
  const ip = parseIp(address);
  if (!ip) return undefined;
  if (ip.family === "IPv4") return `${formatIp(ip).split(".").reverse().join(".")}.in-addr.arpa`;
  return `${ip.value.toString(16).padStart(32, "0").split("").reverse().join(".")}.ip6.arpa`;
}

/** One endpoint with the ports of its slice. */
interface NamedEndpoint {
  readonly host: string;
  readonly address: string;
  readonly ports: readonly NamedPort[];
}

interface NamedPort {
  readonly name: string;
  readonly protocol: string;
  readonly port: number;
}

/** The endpoints that have names: the ready ones, or all where the Service publishes the others too. */
function endpointsOf(state: ClusterState, service: Service): NamedEndpoint[] {
  const slices = state.slicesByService.get(`${service.metadata.namespace ?? "default"}/${service.metadata.name}`);
  const found: NamedEndpoint[] = [];
  for (const slice of slices?.values() ?? []) {
    const ports = slice.ports.flatMap(({ name = "", protocol, port }) => (port === undefined ? [] : [{ name, protocol, port }]));
    for (const { addresses, conditions, hostname } of slice.endpoints) {
      const ip = parseIp(addresses[0] ?? "");
      if (!ip || (conditions.ready === false && service.spec.publishNotReadyAddresses !== true)) continue;
      const address = formatIp(ip);
      found.push({ host: hostname ?? dashed(address), address, ports });
    }
  }
  return found;
}

function recordsOf(service: Service, name: string, endpoints: readonly NamedEndpoint[]): DnsRecord[] {
  // Nothing exists below an ExternalName, whatever slices carry its label.
  if (service.spec.type === "ExternalName")
    return service.spec.externalName === undefined ? [] : [{ name, type: "CNAME", target: withoutRootDot(service.spec.externalName) }];
  const hosts = endpoints.flatMap(({ host, address }) => addressRecord(`${host}.${name}`, address));
  return isHeadless(service) ? [...hosts, ...headlessRecords(name, endpoints)] : [...hosts, ...virtualIpRecords(service, name)];
}

function virtualIpRecords(service: Service, name: string): DnsRecord[] {
  const addresses = clusterIpsOf(service);
  if (addresses.length === 0) return []; // not allocated yet
  return [
    ...addresses.flatMap((address) => [...addressRecord(name, address), ...pointer(address, "virtual-ip", name)]),
    ...serviceRecords(
      name,
      service.spec.ports.map(({ name: port = "", protocol, port: number }) => ({ name: port, protocol, port: number, target: name })),
    ),
  ];
}

function headlessRecords(name: string, endpoints: readonly NamedEndpoint[]): DnsRecord[] {
  return [
    ...endpoints.flatMap(({ host, address }) => [...addressRecord(name, address), ...pointer(address, "endpoint", `${host}.${name}`)]),
    ...serviceRecords(
      name,
      endpoints.flatMap(({ host, ports }) => ports.map((port) => ({ ...port, target: `${host}.${name}` }))),
    ),
  ];
}

/** SRV of each named port, and of all ports at the bare name. */
function serviceRecords(name: string, ports: readonly (NamedPort & { readonly target: string })[]): DnsRecord[] {
  const byName = new Map<string, Map<string, { port: number; target: string }>>();
  const add = (owner: string, port: number, target: string): void => {
    const set = byName.get(owner) ?? new Map<string, { port: number; target: string }>();
    byName.set(owner, set.set(`${port} ${target}`, { port, target }));
  };
  for (const { name: port, protocol, port: number, target } of ports) {
    add(name, number, target);
    if (port !== "") add(`_${port}._${protocol.toLowerCase()}.${name}`, number, target);
  }
  return Array.from(byName).flatMap(([owner, set]) => {
    const weight = Math.max(1, Math.floor(WEIGHT_SUM / set.size));
    return Array.from(set.values(), ({ port, target }): DnsRecord => ({ name: owner, type: "SRV", weight, port, target }));
  });
}

function addressRecord(name: string, address: string): DnsRecord[] {
  const family = parseIp(address)?.family;
  return family === undefined ? [] : [{ name, type: family === "IPv4" ? "A" : "AAAA", address }];
}

function pointer(address: string, of: "virtual-ip" | "endpoint", target: string): DnsRecord[] {
  const name = reverseName(address);
  return name === undefined ? [] : [{ name, type: "PTR", of, target }];
}

/** An address as a label: 10-0-0-1, fd00--1; a label may not end with "-", so `fd00::` is fd00--0. */
function dashed(address: string): string {
  const label = address.replaceAll(/[.:]/g, "-");
  return label.endsWith("-") ? `${label}0` : label;
}

/** Sorted, no duplicates: an endpoint that stands in two slices is one. */
function canonical(records: readonly DnsRecord[]): DnsRecord[] {
  const byText = new Map(records.map((record) => [JSON.stringify(record), record]));
  return Array.from(byText)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, record]) => record);
}
