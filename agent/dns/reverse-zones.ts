import { nthAddress, parseCidr } from "#proto/ip.ts";
import type { Cidr } from "#proto/ip.ts";

/** Names of the reverse zones of a prefix: split where it does not end at an octet (IPv4) or a nibble (IPv6). */
export function reverseZonesOf(text: string): string[] {
  const cidr = parseCidr(text);
  if (!cidr) return [];
  const step = cidr.family === "IPv4" ? 8 : 4;
  const width = Math.ceil(Math.max(cidr.prefix, 1) / step) * step;
  const bits = cidr.family === "IPv4" ? 32 : 128;
  return Array.from({ length: 2 ** (width - cidr.prefix) }, (_, i) => {
    const { value } = nthAddress(cidr, BigInt(i) << BigInt(bits - width));
    return reverseZoneName({ family: cidr.family, base: value, prefix: width });
  });
}

function reverseZoneName({ family, base, prefix }: Cidr): string {
  if (family === "IPv4") {
    const octets = [24n, 16n, 8n, 0n].slice(0, prefix / 8).map((shift) => (base >> shift) & 255n);
    return [...octets.reverse(), "in-addr.arpa"].join(".");
  }
  const nibbles = base
    .toString(16)
    .padStart(32, "0")
    .slice(0, prefix / 4);
  return [...nibbles.split("").reverse(), "ip6.arpa"].join(".");
}
