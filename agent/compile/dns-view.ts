import type { ClusterState, Touched } from "#agent/sync/state.ts";
import type { Endpoint } from "#proto/endpoint-slice.ts";
import { formatIp, parseIp } from "#proto/ip.ts";
import type { ObjectKey } from "#proto/meta.ts";
import { internalIpsOf } from "#proto/node.ts";
import { clusterIpsOf, DNS_ORDER_ANNOTATION, isHeadless, withoutRootDot } from "#proto/service.ts";
import type { Service } from "#proto/service.ts";
import { addressRecord, compileDnsDomain, domainsOf, reverseName, type DnsChange, type DnsRecord, type Preference } from "./dns-records.ts";

const WEIGHT_SUM = 100;

/** The changes that follow from what was touched; with `touched.all`, everything there is. */
export function compileDnsChanges(state: ClusterState, touched: Touched, zone?: string): DnsChange[] {
  if (touched.all) return [...everyDnsChange(state, zone)];
  return [
    ...Array.from(touched.nodes, (name) => compileDnsNode(state, name)),
    ...Array.from(touched.namespaces, (name) => compileDnsNamespace(state, name)),
    ...Array.from(touched.services, (key) => compileDns(state, key, zone)),
  ];
}

/** Everything there is, one by one: each is compiled when it is asked for, from the state as it is then. */
export function* everyDnsChange(state: ClusterState, zone?: string): Generator<DnsChange> {
  if (state.cluster) yield compileDnsDomain(state.cluster);
  for (const name of state.namespaces.keys()) yield compileDnsNamespace(state, name);
  for (const name of state.nodes.keys()) yield compileDnsNode(state, name);
  for (const key of state.services.keys()) yield compileDns(state, key, zone);
}

/** One Service's records. `zone`: this host's. */
export function compileDns(state: ClusterState, key: ObjectKey, zone?: string): DnsChange {
  const source = `service ${key}`;
  const service = state.services.get(key);
  if (!service || !state.cluster) return { source, records: [], names: [] };
  const endpoints = endpointsOf(state, service, zone);
  const below = `${service.metadata.name}.${service.metadata.namespace ?? "default"}.svc`;
  const records = domainsOf(state.cluster).flatMap((domain, i) => {
    const ofDomain = recordsOf(service, `${below}.${domain}`, endpoints);
    return i === 0 ? ofDomain : ofDomain.filter(({ type }) => type !== "PTR"); // an address has one name
  });
  return { source, records: canonical(records), names: [] };
}

/** `NODE.node.DOMAIN`: a host's own addresses. */
export function compileDnsNode(state: ClusterState, name: ObjectKey): DnsChange {
  const node = state.nodes.get(name);
  const domains = state.cluster ? domainsOf(state.cluster) : [];
  const addresses = node ? internalIpsOf(node) : [];
  const records = domains.flatMap((domain) => addresses.flatMap((address) => addressRecord(`${name}.node.${domain}`, address)));
  return { source: `node ${name}`, records, names: [] };
}

export function compileDnsNamespace(state: ClusterState, name: ObjectKey): DnsChange {
  const domains = state.cluster && state.namespaces.has(name) ? domainsOf(state.cluster) : [];
  return {
    source: `namespace ${name}`,
    records: [],
    names: domains.flatMap((domain) => [`${name}.svc.${domain}`, `${name}.pod.${domain}`]),
  };
}

/** One endpoint with the ports of its slice. */
interface NamedEndpoint {
  readonly host: string;
  readonly address: string;
  readonly ports: readonly NamedPort[];
  readonly preference: Preference;
}

interface NamedPort {
  readonly name: string;
  readonly protocol: string;
  readonly port: number;
}

/** The endpoints that have names: the ready ones, or all where the Service publishes the others too. */
function endpointsOf(state: ClusterState, service: Service, zone: string | undefined): NamedEndpoint[] {
  const order = service.metadata.annotations?.[DNS_ORDER_ANNOTATION];
  const slices = state.slicesByService.get(`${service.metadata.namespace ?? "default"}/${service.metadata.name}`);
  const found: NamedEndpoint[] = [];
  for (const slice of slices?.values() ?? []) {
    const ports = slice.ports.flatMap(({ name = "", protocol, port }) => (port === undefined ? [] : [{ name, protocol, port }]));
    for (const { addresses, conditions, hostname, ...more } of slice.endpoints) {
      const ip = parseIp(addresses[0] ?? "");
      if (!ip || (conditions.ready === false && service.spec.publishNotReadyAddresses !== true)) continue;
      const address = formatIp(ip);
      found.push({ host: hostname ?? dashed(address), address, ports, preference: preferenceOf(order, more, zone) });
    }
  }
  return found;
}

function preferenceOf(order: string | undefined, endpoint: Pick<Endpoint, "weight" | "zone">, zone: string | undefined): Preference {
  if (order === "weighted") return { weight: endpoint.weight ?? 1 };
  return order === "same-zone-first" && zone !== undefined ? { isNear: endpoint.zone === zone } : {};
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
    ...endpoints.flatMap(({ host, address, preference }) => [
      ...addressRecord(name, address, preference),
      ...pointer(address, "endpoint", `${host}.${name}`),
    ]),
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
