import { formatIp, parseIp } from "#proto/ip.ts";

/**
 * What the names of the cluster domain stand for, as plain data that can cross to another thread. Names are lower-case, with dots between the labels and
 * none at the end; labels come from the API, which allows no dot in them.
 */
export type DnsRecord =
  | ({ readonly name: string; readonly type: "A" | "AAAA"; readonly address: string } & Preference)
  | { readonly name: string; readonly type: "CNAME" | "NS"; readonly target: string }
  | { readonly name: string; readonly type: "SRV"; readonly weight: number; readonly port: number; readonly target: string }
  /** `of`: a virtual IP's name wins over those of endpoints. */
  | { readonly name: string; readonly type: "PTR"; readonly of: "virtual-ip" | "endpoint"; readonly target: string }
  | { readonly name: string; readonly type: "TXT"; readonly text: string; readonly ttl: number };

/** How much clients want this one of several addresses first. Absent = as much as the others. */
export interface Preference {
  readonly weight?: number;
  readonly isNear?: boolean;
}

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

export interface DomainFacts {
  readonly domain: string;
  readonly moreDomains?: readonly string[] | undefined;
  /** Addresses of its name server. */
  readonly dnsIps: readonly string[];
}

export function domainsOf({ domain, moreDomains = [] }: Pick<DomainFacts, "domain" | "moreDomains">): readonly string[] {
  return [domain, ...moreDomains];
}

/** What the domains say by themselves: version of the schema, their name server and its address. */
export function compileDnsDomain(facts: DomainFacts): DnsChange {
  const all = domainsOf(facts);
  const recordsOf = (domain: string): DnsRecord[] => [
    { name: `dns-version.${domain}`, type: "TXT", text: SCHEMA_VERSION, ttl: SCHEMA_TTL_SECONDS },
    { name: domain, type: "NS", target: `ns.dns.${domain}` },
    ...facts.dnsIps.flatMap((address) => addressRecord(`ns.dns.${domain}`, address)),
  ];
  return {
    source: "domain",
    records: all.flatMap(recordsOf),
    names: all.flatMap((domain) => [domain, `svc.${domain}`, `pod.${domain}`, `node.${domain}`]),
  };
}

/** `10.0.96.10.in-addr.arpa`, or the nibbles below ip6.arpa; undefined when `address` is no IP. */
export function reverseName(address: string): string | undefined {
  const ip = parseIp(address);
  if (!ip) return undefined;
  if (ip.family === "IPv4") return `${formatIp(ip).split(".").reverse().join(".")}.in-addr.arpa`;
  return `${ip.value.toString(16).padStart(32, "0").split("").reverse().join(".")}.ip6.arpa`;
}

export function addressRecord(name: string, address: string, preference: Preference = {}): DnsRecord[] {
  const family = parseIp(address)?.family;
  return family === undefined ? [] : [{ name, type: family === "IPv4" ? "A" : "AAAA", address, ...preference }];
}
