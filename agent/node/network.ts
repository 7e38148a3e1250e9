import { z } from "zod";
import {
  contains,
  endpointAddressFault,
  formatCidr,
  formatIp,
  overlaps,
  parseCidr,
  parseIp,
  prefixOf,
  type Cidr,
  type Ip,
} from "#proto/ip.ts";

/** What `ip -j address` and `ip -j route` say, as far as it concerns us. Pure. */

export const IpAddressJson = z.array(
  z.looseObject({
    ifname: z.string(),
    addr_info: z
      .array(
        z.looseObject({
          local: z.string().optional(),
          prefixlen: z.int().optional(),
          scope: z.string().optional(),
          temporary: z.boolean().optional(),
          deprecated: z.boolean().optional(),
        }),
      )
      .default([]),
  }),
);
export type IpAddressJson = z.output<typeof IpAddressJson>;

export const IpRouteJson = z.array(
  z.looseObject({
    dst: z.string(),
    dev: z.string().optional(),
    gateway: z.string().optional(),
    via: z.looseObject({ host: z.string() }).optional(),
    nexthops: z.array(z.looseObject({ gateway: z.string().optional(), via: z.looseObject({ host: z.string() }).optional() })).optional(),
    type: z.string().optional(),
  }),
);
export type IpRouteJson = z.output<typeof IpRouteJson>;

export interface NodeNetwork {
  /** Addresses by which other hosts reach this one. */
  readonly addresses: readonly string[];
  /** Prefixes of the bridges that its containers are on. */
  readonly containerCidrs: readonly string[];
  /** Every prefix that this host is in, containers' included. */
  readonly localCidrs: readonly string[];
  /** Addresses of others that this host cannot do without, each with what it is. Sorted. */
  readonly reserved: readonly ReservedAddress[];
}

export interface ReservedAddress {
  readonly address: string;
  readonly why: string;
}

/** Bridges of Docker, Podman, libvirt, LXD and CNI; a bridge of another name may be the host's own uplink. */
const CONTAINER_BRIDGE = /^(docker\d+|br-[0-9a-f]{12}|podman\d+|cni-?\w*|virbr\d+|lxdbr\d+|incusbr\d+)$/;
/** Their other ends, and what else is no way to this host. */
const NOT_OURS = /^(lo|veth|vnet|tap|cali|flannel)/;

export interface AddressRules {
  /** The address that the way to the server begins at: it is the host's own, whoever claims it. */
  readonly first?: string | undefined;
  /** Virtual IPs are nobody's address. */
  readonly serviceCidrs: readonly string[];
  /** A Service has this address, on whatever host it is now: keepalived moves it, or we have put it there ourselves. */
  readonly isClaimed?: ((address: string) => boolean) | undefined;
  /** Subnets that Docker says are of its bridges, whatever these are called; canonical. */
  readonly bridged?: readonly string[] | undefined;
}

export function networkOf(
  interfaces: IpAddressJson,
  { first, serviceCidrs, isClaimed = () => false, bridged = [] }: AddressRules,
): Omit<NodeNetwork, "reserved"> {
  const virtual = serviceCidrs.map(parseCidr).filter((cidr) => cidr !== undefined);
  const addresses: string[] = [];
  const containerCidrs = new Set<string>();
  const localCidrs = new Set<string>();
  for (const { ifname, addr_info } of interfaces) {
    if (NOT_OURS.test(ifname)) continue;
    for (const { local = "", prefixlen, temporary, deprecated } of addr_info) {
      const ip = parseIp(local);
      if (!ip || prefixlen === undefined || endpointAddressFault(local) !== undefined || isIn(virtual, ip)) continue;
      if (local !== first && isClaimed(formatIp(ip))) continue;
      const cidr = formatCidr(prefixOf(ip, prefixlen));
      localCidrs.add(cidr);
      if (CONTAINER_BRIDGE.test(ifname) || bridged.includes(cidr)) containerCidrs.add(cidr);
      else if (temporary !== true && deprecated !== true) addresses.push(local);
    }
  }
  const ordered = [...new Set(addresses.toSorted((a, b) => rank(a, first) - rank(b, first)))];
  return { addresses: ordered, containerCidrs: [...containerCidrs].toSorted(), localCidrs: [...localCidrs].toSorted() };
}

/** The order matters to the server alone, which gives workloads the first address. */
export function isSameNetwork(a: NodeNetwork, b: NodeNetwork): boolean {
  const text = ({ addresses, containerCidrs, localCidrs, reserved }: NodeNetwork): string =>
    JSON.stringify([...[addresses, containerCidrs, localCidrs].map((list) => list.toSorted()), reserved]);
  return text(a) === text(b);
}

/** The route that a range of virtual IPs overlaps, in words; undefined when there is none. Default routes hold everything and mean nothing. */
export function overlappingRoute(routes: IpRouteJson, serviceCidrs: readonly string[]): string | undefined {
  for (const text of serviceCidrs) {
    const range = parseCidr(text);
    const found =
      range && routes.find(({ dst, dev }) => dev !== "lo" && dev !== "fairlead0" && dst !== "default" && overlapsWith(range, dst));
    if (found) {
      const via = found.gateway === undefined ? "" : ` via ${found.gateway}`;
      return `${text} overlaps the route ${found.dst}${via}${found.dev === undefined ? "" : ` dev ${found.dev}`}`;
    }
  }
  return undefined;
}

/** Of the default routes. */
export function gatewaysOf(routes: IpRouteJson): readonly string[] {
  const hops = routes.filter(({ dst }) => dst === "default").flatMap((route) => [route, ...(route.nexthops ?? [])]);
  return hops.flatMap(({ gateway, via }) => canonical(gateway ?? via?.host));
}

/** No Service may take these from the host: it would lose its way out, or its names. */
export function reservedOf(gateways: readonly string[], nameServers: readonly string[]): readonly ReservedAddress[] {
  const why = new Map<string, string>();
  for (const address of nameServers.flatMap(canonical))
    if (endpointAddressFault(address) === undefined) why.set(address, "it is a name server of this host");
  for (const address of gateways) why.set(address, "it is a gateway of this host");
  return [...why].map(([address, reason]) => ({ address, why: reason })).toSorted((a, b) => (a.address < b.address ? -1 : 1));
}

function canonical(text = ""): readonly string[] {
  const ip = parseIp(text);
  return ip ? [formatIp(ip)] : [];
}

function overlapsWith(range: Cidr, destination: string): boolean {
  const ip = parseIp(destination); // `ip` leaves out the /32 of a host's route
  const cidr = ip ? prefixOf(ip, ip.family === "IPv4" ? 32 : 128) : parseCidr(destination);
  return cidr !== undefined && cidr.prefix > 0 && overlaps(range, cidr);
}

function isIn(cidrs: readonly Cidr[], ip: Ip): boolean {
  return cidrs.some((cidr) => contains(cidr, ip));
}

/** IPv4 before IPv6: the first address is what workloads get that name none. */
function rank(address: string, first: string | undefined): number {
  return address === first ? 0 : address.includes(":") ? 2 : 1;
}
