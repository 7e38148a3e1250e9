import { contains, parseCidr, parseIp, type Cidr, type IpFamily } from "#proto/ip.ts";
import type { HostTable } from "#agent/compile/table.ts";

/** At which addresses of the host listeners of node ports stand. Pure. */

const ANY: Readonly<Record<IpFamily, string>> = { IPv4: "0.0.0.0", IPv6: "::" };
export const LOOPBACK: Readonly<Record<IpFamily, string>> = { IPv4: "127.0.0.1", IPv6: "::1" };

/** The prefixes of a family in which node ports are; none = everywhere. */
export function nodePortCidrsOf({ nodePortCidrs }: Pick<HostTable, "nodePortCidrs">, family: IpFamily): readonly Cidr[] {
  return nodePortCidrs.map(parseCidr).filter((cidr) => cidr !== undefined && cidr.family === family) as Cidr[];
}

/** For a listener that stands wherever node ports are: the wildcard, or each address. */
export function nodePortAddresses(host: Pick<HostTable, "nodePortCidrs" | "nodeIps">, family: IpFamily): readonly string[] {
  const cidrs = nodePortCidrsOf(host, family);
  if (cidrs.length === 0) return [ANY[family]];
  return [...host.nodeIps, LOOPBACK[family]].filter((address) => isIn(cidrs, address));
}

/** May 127.0.0.1 (or ::1) have node ports? */
export function isAtLoopback(host: Pick<HostTable, "nodePortCidrs">, family: IpFamily): boolean {
  const cidrs = nodePortCidrsOf(host, family);
  return cidrs.length === 0 || isIn(cidrs, LOOPBACK[family]);
}

/** An address of the host at which the kernel answers node ports; undefined = they are at loopback only. */
export function nodePortAddress(host: Pick<HostTable, "nodePortCidrs" | "nodeIps">, family: IpFamily): string | undefined {
  const cidrs = nodePortCidrsOf(host, family);
  return host.nodeIps.find((address) => parseIp(address)?.family === family && (cidrs.length === 0 || isIn(cidrs, address)));
}

function isIn(cidrs: readonly Cidr[], address: string): boolean {
  const ip = parseIp(address);
  return ip !== undefined && cidrs.some((cidr) => contains(cidr, ip));
}
