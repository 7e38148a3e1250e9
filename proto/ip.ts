/** IPv4 and IPv6 addresses and prefixes as numbers. Pure. Text forms: RFC 4632 (prefixes), RFC 4291 and 5952 (IPv6). */

export type IpFamily = "IPv4" | "IPv6";

export interface Ip {
  readonly family: IpFamily;
  readonly value: bigint;
}

export interface Cidr {
  readonly family: IpFamily;
  readonly base: bigint;
  readonly prefix: number;
}

const BITS = { IPv4: 32, IPv6: 128 } as const;

/** Strict: no leading zeros, no zone, no IPv4-mapped text; undefined when `text` is no address. */
export function parseIp(text: string): Ip | undefined {
  const v4 = parseIpv4(text);
  if (v4 !== undefined) return { family: "IPv4", value: v4 };
  const v6 = parseIpv6(text);
  return v6 === undefined ? undefined : { family: "IPv6", value: v6 };
}

/** Is it the canonical text of an IPv4 address? There is no other. */
export function isIpv4(text: string): boolean {
  return numberOf(text) !== undefined;
}

/** The canonical text of an address: RFC 5952 for IPv6. */
export function formatIp({ family, value }: Ip): string {
  if (family === "IPv4") {
    const number = Number(value);
    return `${number >>> 24}.${(number >>> 16) & 255}.${(number >>> 8) & 255}.${number & 255}`;
  }
  const groups = Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn));
  const run = longestZeroRun(groups);
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(":");
  return run === undefined ? hex(groups) : `${hex(groups.slice(0, run.start))}::${hex(groups.slice(run.end))}`;
}

/** `10.96.0.0/16`; host bits must be zero. undefined when `text` is no prefix. */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^(.+)\/(\d{1,3})$/.exec(text);
  const ip = match?.[1] === undefined ? undefined : parseIp(match[1]);
  if (!match || !ip || /^0\d/.test(match[2] ?? "")) return undefined;
  const prefix = Number(match[2]);
  if (prefix > BITS[ip.family]) return undefined;
  return (ip.value & hostMask(ip.family, prefix)) === 0n ? { family: ip.family, base: ip.value, prefix } : undefined;
}

/** As people write prefixes: with white space around, with bits after the prefix (which do not count). */
export function lenientCidr(text: string): Cidr | undefined {
  const [, address = "", length = ""] = /^([^/]+)\/(\d{1,3})$/.exec(text.trim()) ?? [];
  const ip = parseIp(address);
  if (!ip || /^0\d/.test(length) || Number(length) > BITS[ip.family]) return undefined;
  return prefixOf(ip, Number(length));
}

export function formatCidr({ family, base, prefix }: Cidr): string {
  return `${formatIp({ family, value: base })}/${prefix}`;
}

/** The prefix of length `prefix` that holds `ip`. */
export function prefixOf(ip: Ip, prefix: number): Cidr {
  return { family: ip.family, base: ip.value & ~hostMask(ip.family, prefix), prefix };
}

export function contains(cidr: Cidr, ip: Ip): boolean {
  return cidr.family === ip.family && (ip.value & ~hostMask(cidr.family, cidr.prefix)) === cidr.base;
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  if (a.family !== b.family) return false;
  const wider = a.prefix <= b.prefix ? a : b;
  const narrower = wider === a ? b : a;
  return contains(wider, { family: narrower.family, value: narrower.base });
}

/** How many addresses the prefix holds. */
export function sizeOf(cidr: Cidr): bigint {
  return 1n << BigInt(BITS[cidr.family] - cidr.prefix);
}

export function nthAddress(cidr: Cidr, index: bigint): Ip {
  return { family: cidr.family, value: cidr.base + index };
}

/**
 * Why nothing may be balanced to this address, or undefined when it may: loopback, link-local, multicast, unspecified, broadcast and reserved
 * addresses would lead a host to itself or to its neighbours' private services (CVE-2021-25737).
 */
export function endpointAddressFault(text: string): string | undefined {
  const ip = parseIp(text);
  if (!ip) return "must be an IPv4 or IPv6 address, like 192.168.56.11";
  const found = UNUSABLE.find(({ cidr }) => contains(cidr, ip));
  return found && `may not be in the ${found.what} range (${formatCidr(found.cidr)})`;
}

/** The same for a whole prefix: none of its addresses may be unusable. */
export function endpointPrefixFault(cidr: Cidr): string | undefined {
  const found = UNUSABLE.find((one) => overlaps(one.cidr, cidr));
  return found && `may not overlap the ${found.what} range (${formatCidr(found.cidr)})`;
}

const UNUSABLE = [
  ["0.0.0.0/8", "unspecified"],
  ["127.0.0.0/8", "loopback"],
  ["169.254.0.0/16", "link-local"],
  ["224.0.0.0/4", "multicast"],
  ["240.0.0.0/4", "reserved"],
  ["::/128", "unspecified"],
  ["::1/128", "loopback"],
  ["::ffff:0:0/96", "IPv4-mapped"],
  ["fe80::/10", "link-local"],
  ["ff00::/8", "multicast"],
].map(([text = "", what = ""]) => {
  const cidr = parseCidr(text);
  if (!cidr) throw new Error(`not a prefix: ${text}`);
  return { cidr, what };
});

function hostMask(family: IpFamily, prefix: number): bigint {
  return (1n << BigInt(BITS[family] - prefix)) - 1n;
}

/** Character by character: agents read tens of thousands of addresses at once, and BigInt arithmetic for each byte was most of that. */
function numberOf(text: string): number | undefined {
  if (text.length > 15) return undefined;
  let value = 0;
  let part = 0;
  let digits = 0;
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48; // "0"
    if (digit >= 0 && digit <= 9) {
      if (digits > 0 && part === 0) return undefined; // a leading zero
      part = part * 10 + digit;
      digits++;
      if (part > 255) return undefined;
    } else {
      // "."
      if (digit !== -2 || digits === 0 || ++dots > 3) return undefined;
      value = value * 256 + part;
      part = 0;
      digits = 0;
    }
  }
  return dots === 3 && digits > 0 ? value * 256 + part : undefined;
}

function parseIpv4(text: string): bigint | undefined {
  const value = numberOf(text);
  return value === undefined ? undefined : BigInt(value);
}

function parseIpv6(text: string): bigint | undefined {
  if (!/^[0-9a-fA-F:.]{2,45}$/.test(text)) return undefined;
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map(groupsOf);
  if (!head || (halves.length === 2 && !tail)) return undefined;
  const missing = 8 - head.length - (tail?.length ?? 0);
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => 0), ...(tail ?? [])];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

function groupsOf(text: string): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    const v4 = i === parts.length - 1 && part.includes(".") ? parseIpv4(part) : undefined;
    if (v4 !== undefined) groups.push(Number(v4 >> 16n), Number(v4 & 0xffffn));
    else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
}

function longestZeroRun(groups: readonly number[]): { start: number; end: number } | undefined {
  let best: { start: number; end: number } | undefined;
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (end < groups.length && groups[end] === 0) end++;
    if (end - start >= 2 && (!best || end - start > best.end - best.start)) best = { start, end };
    if (end > start) start = end;
  }
  return best;
}
