import { contains, endpointPrefixFault, overlaps, parseCidr, parseIp, prefixOf, type Cidr, type Ip } from "#proto/ip.ts";
import { leadsSomewhere, type Route } from "#agent/dataplane/route-edge.ts";
import type { NodeNetwork } from "#agent/node/network.ts";
import type { Announced } from "./announced.ts";

/** What this host does about a network that another one announces. Pure: the kernel's routes in, a verdict out. */
export type Verdict =
  | { readonly kind: "route"; readonly route: PeerRoute }
  /** Somebody's own route leads there already. */
  | { readonly kind: "led" }
  /** A route would take something from this host, or lead nowhere. */
  | { readonly kind: "refused"; readonly why: string };

export interface PeerRoute {
  readonly destination: string;
  readonly hop: string;
  readonly dev: string;
}

export interface Ground {
  /** Routes of others that overlap the network, and those that the ways to the hops may be among. */
  readonly others: readonly Route[];
  readonly network: Pick<NodeNetwork, "localCidrs" | "reserved">;
  readonly serviceCidrs: readonly string[];
}

export function verdictOn(announced: Announced, ground: Ground): Verdict {
  const { cidr, text, node, hops } = announced;
  const why = faultOf(announced, ground);
  if (why !== undefined) return { kind: "refused", why };
  const inTheWay = ground.others.find((route) => isOver(route, cidr));
  if (inTheWay) {
    const range = rangeOf(inTheWay, cidr);
    const isThere = hops.some((hop) => hop === inTheWay.gateway) && range !== undefined && range.prefix <= cidr.prefix;
    return isThere ? { kind: "led" } : { kind: "refused", why: `${describeRoute(inTheWay)} overlaps it` };
  }
  for (const hop of hops) {
    const dev = linkOf(hop, ground.others);
    if (dev !== undefined) return { kind: "route", route: { destination: text, hop, dev } };
  }
  const where =
    hops.length === 0 ? `${node} has no ${cidr.family} address` : `no address of ${node} (${hops.join(", ")}) is in a network of this host`;
  return { kind: "refused", why: `${where}: it can be handed over only to a neighbour` };
}

/** The server has looked too; what is on a host's disk may be older than its rules, and it does not know what this host has. */
function faultOf({ cidr }: Announced, { network, serviceCidrs }: Ground): string | undefined {
  const fault = endpointPrefixFault(cidr);
  if (fault !== undefined) return `it ${fault}`;
  const range = serviceCidrs.find((one) => isOverlapping(one, cidr));
  if (range !== undefined) return `it overlaps the range of virtual IPs (${range})`;
  const reserved = network.reserved.find(({ address }) => holds(cidr, address));
  if (reserved) return `it holds ${reserved.address}: ${reserved.why}`;
  const local = network.localCidrs.find((one) => isOverlapping(one, cidr));
  return local === undefined ? undefined : `this host's own network ${local} overlaps it`;
}

/** The device by which a neighbour is reached; undefined when it is none, or this host itself. Of routes to the same place the most exact one counts. */
function linkOf(hop: string, others: readonly Route[]): string | undefined {
  const ip = parseIp(hop);
  if (!ip) return undefined;
  const [best] = others
    .flatMap((route) => {
      const range = rangeOf(route, ip);
      return range && contains(range, ip) && leadsSomewhere(route) ? [{ route, length: range.prefix }] : [];
    })
    .toSorted((a, b) => b.length - a.length || (a.route.metric ?? 0) - (b.route.metric ?? 0));
  if (!best) return undefined;
  const { gateway, via, nexthops, dev, type } = best.route;
  const isDirect = gateway === undefined && via === undefined && nexthops === undefined && (type === undefined || type === "unicast");
  return isDirect && dev !== "lo" ? dev : undefined;
}

/** Default routes hold everything and mean nothing. */
function isOver(route: Route, cidr: Cidr): boolean {
  const range = route.dst === "default" ? undefined : rangeOf(route, cidr);
  return range !== undefined && range.prefix > 0 && overlaps(range, cidr);
}

function rangeOf({ dst }: Route, { family }: Pick<Ip, "family">): Cidr | undefined {
  if (dst === "default") return { family, base: 0n, prefix: 0 };
  const ip = parseIp(dst); // `ip` leaves out the length of a host's route
  return ip ? prefixOf(ip, ip.family === "IPv4" ? 32 : 128) : parseCidr(dst);
}

function describeRoute({ dst, gateway, dev }: Route): string {
  return `this host's route ${dst}${gateway === undefined ? "" : ` via ${gateway}`}${dev === undefined ? "" : ` dev ${dev}`}`;
}

function isOverlapping(text: string, cidr: Cidr): boolean {
  const other = parseCidr(text);
  return other !== undefined && overlaps(other, cidr);
}

function holds(cidr: Cidr, address: string): boolean {
  const ip = parseIp(address);
  return ip !== undefined && contains(cidr, ip);
}
