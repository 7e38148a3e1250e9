import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import type { Backend, HostTable } from "#agent/compile/table.ts";

/**
 * On this host, but neither one of its own addresses nor behind it (macvlan, a virtual machine on a bridge of the LAN): a packet for it leaves by an
 * interface where its neighbours are others too.
 */
export function isNeighbour({ nodeIps, localCidrs }: HostTable, { isLocal, address }: Backend): boolean {
  const ip = isLocal ? parseIp(address) : undefined;
  if (!ip || nodeIps.includes(address)) return false;
  return !localCidrs.some((text) => {
    const cidr = parseCidr(text);
    return cidr !== undefined && contains(cidr, ip);
  });
}
