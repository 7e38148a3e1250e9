import { contains, type Cidr, type Ip } from "#proto/ip.ts";
import { canonicalCidrs, sloppyCidr } from "./sloppy-ip.ts";

/**
 * Who may connect to a load balancer's address. undefined = everybody. Empty = nobody: the Service names ranges, but none of this family that can be
 * read, and a limit that cannot be understood is not taken for no limit.
 */
export function sourceRangesOf(texts: readonly string[] | undefined, balancer: Ip, nodeIps: readonly Ip[]): readonly string[] | undefined {
  if (texts === undefined || texts.length === 0) return undefined;
  const ranges = texts.map(sloppyCidr).filter((cidr) => cidr?.family === balancer.family) as readonly Cidr[];
  if (ranges.some(({ prefix }) => prefix === 0)) return undefined;
  // A connection of the host to the address may have the address itself as its source, where it is on a device of the host.
  const isHostAllowed = nodeIps.some((ip) => ranges.some((range) => contains(range, ip)));
  const itself: Cidr = { family: balancer.family, base: balancer.value, prefix: balancer.family === "IPv4" ? 32 : 128 };
  return canonicalCidrs(isHostAllowed ? [...ranges, itself] : ranges);
}
