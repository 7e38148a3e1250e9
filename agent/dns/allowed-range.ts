import { AppError } from "#proto/error.ts";
import { formatCidr, parseCidr, parseIp, prefixOf } from "#proto/ip.ts";

/** As wide as the widest private networks: 10.0.0.0/8 and fc00::/7. Whatever is wider lets the world ask. */
const WIDEST = { IPv4: 8, IPv6: 7 } as const;

/** A further network whose hosts may ask, or one address. Never so many that the host is an open resolver. */
export function parseAllowedRange(text: string): string {
  const ip = parseIp(text);
  const cidr = ip ? prefixOf(ip, ip.family === "IPv4" ? 32 : 128) : parseCidr(text);
  if (!cidr)
    throw new AppError("Usage", `"${text}" is no range of addresses`, {
      hint: "write it like 192.168.7.0/24, fd00:7::/64 or 192.168.7.9, with host bits zero",
    });
  if (cidr.prefix < WIDEST[cidr.family])
    throw new AppError("Usage", `${formatCidr(cidr)} is too wide: strangers would use this host's DNS for attacks on others`, {
      hint: `name your own networks, with a prefix of at least /${WIDEST[cidr.family]}`,
    });
  return formatCidr(cidr);
}

export function isAllowedRange(text: string): boolean {
  try {
    parseAllowedRange(text);
    return true;
  } catch {
    return false;
  }
}
