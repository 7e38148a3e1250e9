import type { z } from "zod";
import { endpointPrefixFault, overlaps, parseCidr, sizeOf } from "#proto/ip.ts";
import { PortNumber } from "#proto/meta.ts";

/** What may be said of ranges in the configuration. Pure. */

/** Of virtual IPs: one, or one of each IP family. */
export function checkServiceRanges(texts: readonly string[], context: z.RefinementCtx): void {
  const refuse = (message: string): void => context.addIssue({ code: "custom", message });
  if (texts.length < 1 || texts.length > 2) refuse("must be one range, or one of each IP family");
  for (const text of texts) {
    const range = parseCidr(text);
    if (!range) refuse(`${text} is no range like 10.96.0.0/16 (bits after the prefix must be zero)`);
    else if (sizeOf(range) < 16n) refuse(`${text} is too small: it needs 16 addresses`);
    else if (range.family === "IPv4" && range.prefix < 8) refuse(`${text} is too large: /8 is the most`);
    else if (range.family === "IPv6" && range.prefix < 64) refuse(`${text} is too large: /64 is the most`);
  }
  checkFamilies(texts, refuse);
}

/** Of addresses for services of type LoadBalancer: none, or one of each IP family at most. */
export function checkLoadBalancerRanges(texts: readonly string[], context: z.RefinementCtx): void {
  const refuse = (message: string): void => context.addIssue({ code: "custom", message });
  if (texts.length > 2) refuse("must be one range of each IP family at most");
  for (const text of texts) {
    const range = parseCidr(text);
    const unusable = range && endpointPrefixFault(range);
    if (!range) refuse(`${text} is no range like 192.168.56.240/28 (bits after the prefix must be zero)`);
    else if (unusable !== undefined) refuse(`${text} ${unusable}`);
    else if (range.family === "IPv4" && range.prefix < 8) refuse(`${text} is too large: /8 is the most`);
    else if (range.family === "IPv6" && range.prefix < 64) refuse(`${text} is too large: /64 is the most`);
  }
  checkFamilies(texts, refuse);
}

/** The first two ranges of different settings that overlap. */
export function overlappingRanges(some: readonly string[], others: readonly string[]): readonly [string, string] | undefined {
  for (const one of some)
    for (const other of others) {
      const [a, b] = [parseCidr(one), parseCidr(other)];
      if (a && b && overlaps(a, b)) return [one, other];
    }
  return undefined;
}

export function parsePortRange(text: string): { from: number; to: number } | undefined {
  const [, from, to] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? [];
  const range = { from: Number(from), to: Number(to) };
  return PortNumber.safeParse(range.from).success && PortNumber.safeParse(range.to).success && range.from <= range.to ? range : undefined;
}

function checkFamilies(texts: readonly string[], refuse: (message: string) => void): void {
  const [first, second] = texts.map((text) => parseCidr(text)?.family);
  if (first !== undefined && first === second) refuse("must be of two IP families where there are two ranges");
}
