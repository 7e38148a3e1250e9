import type { Cidr, IpFamily } from "#proto/ip.ts";
import { canonicalCidrs, sloppyCidr } from "./sloppy-ip.ts";

/**
 * Who may connect to a load balancer's address. undefined = everybody. Empty = nobody: the Service names ranges, but none of this family that can be
 * read, and a limit that cannot be understood is not taken for no limit.
 */
export function sourceRangesOf(texts: readonly string[] | undefined, family: IpFamily): readonly string[] | undefined {
  if (texts === undefined || texts.length === 0) return undefined;
  const ranges = texts.map(sloppyCidr).filter((cidr) => cidr?.family === family) as readonly Cidr[];
  return ranges.some(({ prefix }) => prefix === 0) ? undefined : canonicalCidrs(ranges);
}
