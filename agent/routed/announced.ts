import { parseIp, parseCidr, type Cidr } from "#proto/ip.ts";
import { internalIpsOf, routedCidrsOf, type Node } from "#proto/node.ts";

/** A network behind another host, and at which of that host's addresses packets for it may be handed over. */
export interface Announced {
  readonly node: string;
  readonly text: string;
  readonly cidr: Cidr;
  /** Of the network's family; in the order of the Node. */
  readonly hops: readonly string[];
}

export function announcedBy(node: Node): readonly Announced[] {
  return routedCidrsOf(node).flatMap((text) => {
    const cidr = parseCidr(text);
    if (!cidr) return [];
    return { node: node.metadata.name, text, cidr, hops: internalIpsOf(node).filter((ip) => parseIp(ip)?.family === cidr.family) };
  });
}
