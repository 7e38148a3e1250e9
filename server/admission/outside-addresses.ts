import { contains, endpointAddressFault, formatIp, parseIp, type Cidr, type Ip } from "#proto/ip.ts";
import type { ObjectKey } from "#proto/meta.ts";
import { isHeadless, loadBalancerIpsOf, type Service } from "#proto/service.ts";
import type { NodeNetworks } from "./node-networks.ts";
import type { Ranges } from "./ranges.ts";

/**
 * Addresses of services from outside the ranges of virtual IPs. A load balancer's belongs to one service; of an external IP a service has only its
 * ports. Whoever could say that a service is at a host's, a gateway's or another service's address would get that one's traffic (CVE-2020-8554).
 */

export function loadBalancerClaim(ip: string): string {
  return `load-balancer/${ip}`;
}

/** `port`: as in `TCP/80`. */
function externalClaim(ip: string, port: string): string {
  return `external-ip/${ip}/${port}`;
}

/** What hosts do not serve at all holds nothing. */
export function outsideClaims(service: Service): string[] {
  if (service.spec.type === "ExternalName" || isHeadless(service)) return [];
  const external = (service.spec.externalIPs ?? []).flatMap((text) => {
    const ip = canonicalIp(text);
    return portsOf(service).map((port) => externalClaim(ip, port));
  });
  return [...new Set([...loadBalancerIpsOf(service).map(loadBalancerClaim), ...external])];
}

export function portsOf({ spec }: Service): string[] {
  return spec.ports.map(({ protocol, port }) => `${protocol}/${port}`);
}

/** Ports of an external IP that are not among the claims that the service holds. */
export function newPortsOf(held: ReadonlySet<string>, next: Service, ip: string): string[] {
  return portsOf(next).filter((port) => !held.has(externalClaim(ip, port)));
}

export function canonicalIp(text: string): string {
  const ip = parseIp(text);
  return ip ? formatIp(ip) : text;
}

/** Who is at which of these addresses, in memory. */
export interface OutsideAddresses {
  use(claim: string, service: ObjectKey): void;
  release(claim: string, service: ObjectKey): void;
  /** claim → service. */
  at(ip: string): ReadonlyMap<string, ObjectKey>;
  /** Some address in the prefix. Looks through all: hosts' prefixes change seldom. */
  within(cidr: Cidr): { readonly ip: string; readonly service: ObjectKey } | undefined;
}

const NONE: ReadonlyMap<string, ObjectKey> = new Map();

export function createOutsideAddresses(): OutsideAddresses {
  const byIp = new Map<string, { readonly parsed: Ip; readonly claims: Map<string, ObjectKey> }>();
  return {
    use: (claim, service) => {
      const ip = addressIn(claim);
      const parsed = ip === undefined ? undefined : parseIp(ip);
      if (ip === undefined || !parsed) return;
      const known = byIp.get(ip) ?? { parsed, claims: new Map<string, ObjectKey>() };
      known.claims.set(claim, service);
      byIp.set(ip, known);
    },
    release: (claim, service) => {
      const ip = addressIn(claim) ?? "";
      const claims = byIp.get(ip)?.claims;
      if (claims?.get(claim) !== service) return; // somebody else has it by now
      claims.delete(claim);
      if (claims.size === 0) byIp.delete(ip);
    },
    at: (ip) => byIp.get(ip)?.claims ?? NONE,
    within: (cidr) => {
      for (const [ip, { parsed, claims }] of byIp) {
        const [service] = claims.values();
        if (service !== undefined && contains(cidr, parsed)) return { ip, service };
      }
      return undefined;
    },
  };
}

/** The address that a claim is about; undefined when it is about something else. */
export function addressIn(claim: string): string | undefined {
  const [what, ip] = claim.split("/");
  return what === "load-balancer" || what === "external-ip" || what === "node-address" ? ip : undefined;
}

export interface OutsideParts {
  /** The service that asks: what it holds itself is no obstacle. */
  readonly own: ObjectKey;
  readonly ranges: Ranges;
  readonly networks: Pick<NodeNetworks, "holding">;
  /** Addresses that no service may have, each with the reason: `the address of this server`. */
  readonly reserved: ReadonlyMap<string, string>;
  readonly addresses: Pick<OutsideAddresses, "at">;
  /** The host that has the address. */
  readonly hostAt: (ip: string) => Promise<string | undefined>;
}

/** Why the service may not be at an address (canonical); undefined when it may. `ports` of an external IP; a load balancer's is taken as a whole. */
export async function outsideFault(ip: string, ports: readonly string[] | "all", parts: OutsideParts): Promise<string | undefined> {
  const unusable = endpointAddressFault(ip);
  const parsed = parseIp(ip);
  if (unusable !== undefined || !parsed) return unusable;
  const range = parts.ranges.holding(parsed);
  if (range) return `may not be in the range of virtual addresses (${range.text})`;
  const reserved = parts.reserved.get(ip);
  if (reserved !== undefined) return `is ${reserved}`;
  const host = await parts.hostAt(ip);
  if (host !== undefined) return `is the address of the host ${host}`;
  const behind = parts.networks.holding(parsed, "");
  if (behind) return `is in ${behind.what}, which is behind the host ${behind.node}`;
  return heldBy(ip, ports, parts);
}

function heldBy(ip: string, ports: readonly string[] | "all", { own, addresses }: OutsideParts): string | undefined {
  for (const [claim, service] of addresses.at(ip)) {
    if (service === own) continue;
    if (claim === loadBalancerClaim(ip)) return `is already the load balancer address of the service ${service}`;
    if (ports === "all") return `is already an external IP of the service ${service}`;
    const port = ports.find((one) => externalClaim(ip, one) === claim);
    if (port !== undefined) return `port ${port.split("/").toReversed().join("/")} of it is already in the hands of the service ${service}`;
  }
  return undefined;
}
