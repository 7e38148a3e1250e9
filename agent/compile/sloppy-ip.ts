import { contains, formatCidr, formatIp, parseIp, prefixOf, type Cidr, type Ip } from "#proto/ip.ts";

/**
 * Addresses as people write them: with spaces around them, with leading zeros in IPv4 (`192.000.002.1`, decimal as in Kubernetes), prefixes with host
 * bits set. The kernel's tools read some of these in another way (leading zero = octal), so only what comes out of here goes on.
 */

export function sloppyIp(text: string): Ip | undefined {
  const trimmed = text.trim();
  return parseIp(/^[\d.]+$/.test(trimmed) ? trimmed.replaceAll(/\b0+(?=\d)/g, "") : trimmed);
}

/** Host bits are cleared; an address alone is a prefix of itself. */
export function sloppyCidr(text: string): Cidr | undefined {
  const [address = "", length, ...more] = text.trim().split("/");
  const ip = sloppyIp(address);
  if (!ip || more.length > 0) return undefined;
  const bits = ip.family === "IPv4" ? 32 : 128;
  if (length === undefined) return prefixOf(ip, bits);
  return /^\d{1,3}$/.test(length) && Number(length) <= bits ? prefixOf(ip, Number(length)) : undefined;
}

/** Canonical text, sorted, and none inside another: sets of the kernel refuse prefixes that overlap. */
export function canonicalCidrs(cidrs: readonly Cidr[]): readonly string[] {
  const kept: Cidr[] = [];
  // Two prefixes are either apart or one in the other; in this order whatever holds one comes before it, with only its own parts between.
  for (const cidr of cidrs.toSorted(byBase)) {
    const last = kept.at(-1);
    if (!last || !contains(last, { family: cidr.family, value: cidr.base })) kept.push(cidr);
  }
  return kept.map(formatCidr).toSorted();
}

export function canonicalIps(texts: readonly string[]): readonly string[] {
  const found = texts.map(sloppyIp).filter((ip) => ip !== undefined);
  return [...new Set(found.map(formatIp))].toSorted();
}

function byBase(a: Cidr, b: Cidr): number {
  if (a.family !== b.family) return a.family < b.family ? -1 : 1;
  return a.base < b.base ? -1 : a.base > b.base ? 1 : a.prefix - b.prefix;
}
