import type { ClusterFacts } from "#proto/agents.ts";
import { AppError, type Cause } from "#proto/error.ts";
import { contains, formatCidr, formatIp, nthAddress, parseCidr, parseIp, sizeOf, type Cidr, type Ip, type IpFamily } from "#proto/ip.ts";
import { fault } from "#proto/parse.ts";

/** The ranges of addresses that the server gives out, and what may not be in those of virtual ones. */

export interface Ranges {
  /** In the order of preference. */
  readonly families: readonly IpFamily[];
  of(family: IpFamily): VirtualRange | undefined;
  /** The virtual range that an address is in. */
  holding(ip: Ip): VirtualRange | undefined;
}

export interface VirtualRange {
  readonly cidr: Cidr;
  readonly text: string;
  /** How many addresses may be given out: at most a million, which bounds memory. */
  readonly size: number;
  /** Never given out: the network's own address, IPv4's broadcast, and that of the DNS service, where every host answers itself. */
  readonly reserved: ReadonlySet<number>;
  readonly dnsIndex: number | undefined;
  /** Position in the range, undefined outside of it. */
  indexOf(ip: Ip): number | undefined;
  at(index: number): string;
}

const MAX_SIZE = 1 << 20;

export function virtualRanges({ serviceCidrs, dnsIps }: Pick<ClusterFacts, "serviceCidrs" | "dnsIps">): Ranges {
  return rangesOf(serviceCidrs.map((text) => rangeOf("serviceCidrs", text, dnsIps)));
}

/** Of addresses for load balancers: they lie in a network of people's own, hence are reserved otherwise than virtual ones. */
export function loadBalancerRanges(cidrs: readonly string[]): Ranges {
  return rangesOf(cidrs.map((text) => balancerRangeOf(rangeOf("loadBalancerCidrs", text, []))));
}

function rangesOf(ranges: readonly VirtualRange[]): Ranges {
  return {
    families: ranges.map(({ cidr }) => cidr.family),
    of: (family) => ranges.find(({ cidr }) => cidr.family === family),
    holding: (ip) => ranges.find(({ cidr }) => contains(cidr, ip)),
  };
}

function rangeOf(setting: string, text: string, dnsIps: readonly string[]): VirtualRange {
  const cidr = parseCidr(text);
  if (!cidr) throw new AppError("Invalid", `${setting}: ${text} is not a prefix`, { hint: "write it like 10.96.0.0/16" });
  const whole = sizeOf(cidr);
  const size = whole > BigInt(MAX_SIZE) ? MAX_SIZE : Number(whole);
  const indexOf = (ip: Ip): number | undefined => {
    if (!contains(cidr, ip)) return undefined;
    const index = ip.value - cidr.base;
    return index < BigInt(size) ? Number(index) : undefined;
  };
  const dnsIndex = dnsIps
    .map((dns) => parseIp(dns))
    .map((ip) => ip && indexOf(ip))
    .find((index) => index !== undefined);
  const reserved = new Set([0]);
  if (cidr.family === "IPv4" && BigInt(size) === whole) reserved.add(size - 1);
  if (dnsIndex !== undefined) reserved.add(dnsIndex);
  return {
    cidr,
    text: formatCidr(cidr),
    size,
    reserved,
    dnsIndex,
    indexOf,
    at: (index) => formatIp(nthAddress(cidr, BigInt(index))),
  };
}

const BITS_OF_A_SMALL_POOL = 24;

/**
 * A few addresses out of a network: all of them are good. A pool as wide as a network of its own has that network's own address and its broadcast,
 * and more of them where it is wider: those are not given out.
 */
function balancerRangeOf(range: VirtualRange): VirtualRange {
  const { cidr, size } = range;
  if (cidr.family === "IPv6") return { ...range, reserved: size > 1 ? new Set([0]) : new Set() };
  if (cidr.prefix > BITS_OF_A_SMALL_POOL) return { ...range, reserved: new Set() };
  const ends = Array.from({ length: size / 256 }, (_, i) => [i * 256, i * 256 + 255]).flat();
  return { ...range, reserved: new Set(ends) };
}

/** A fault if something real is said to be at a virtual address: packets to it would never arrive there. */
export function virtualAddressFault(ranges: Ranges, field: string, address: string): Cause | undefined {
  const ip = parseIp(address);
  const range = ip && ranges.holding(ip);
  return range && fault(field, `may not be in the range of virtual addresses (${range.text})`, { value: address });
}
