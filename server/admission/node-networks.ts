import { contains, overlaps, parseCidr, parseIp, type Cidr, type Ip } from "#proto/ip.ts";
import { internalIpsOf, type Node } from "#proto/node.ts";

/** Which addresses and prefixes are behind which host, in memory: looked through when a host's change, which is seldom. */
export interface NodeNetworks {
  put(node: Node): void;
  delete(name: string): void;
  /** The other host that a prefix would overlap, and with what. */
  overlapping(cidr: Cidr, except: string): { readonly node: string; readonly what: string } | undefined;
  /** The other host whose prefix holds an address. */
  holding(ip: Ip, except: string): { readonly node: string; readonly what: string } | undefined;
}

interface Networks {
  readonly ips: readonly { readonly text: string; readonly ip: Ip }[];
  readonly cidrs: readonly { readonly text: string; readonly cidr: Cidr }[];
}

export function createNodeNetworks(): NodeNetworks {
  const byNode = new Map<string, Networks>();
  return {
    put: (node) => {
      const ips = internalIpsOf(node).flatMap((text) => {
        const ip = parseIp(text);
        return ip ? [{ text, ip }] : [];
      });
      byNode.set(node.metadata.name, { ips, cidrs: prefixesOf(node) });
    },
    delete: (name) => void byNode.delete(name),
    overlapping: (cidr, except) => {
      for (const [node, { ips, cidrs }] of byNode) {
        if (node === except) continue;
        const found = cidrs.find((one) => overlaps(one.cidr, cidr)) ?? ips.find(({ ip }) => contains(cidr, ip));
        if (found) return { node, what: found.text };
      }
      return undefined;
    },
    holding: (ip, except) => {
      for (const [node, { cidrs }] of byNode) {
        const found = node === except ? undefined : cidrs.find(({ cidr }) => contains(cidr, ip));
        if (found) return { node, what: found.text };
      }
      return undefined;
    },
  };
}

export function prefixesOf(node: Node): { text: string; cidr: Cidr }[] {
  return (node.spec.podCIDRs ?? []).flatMap((text) => {
    const cidr = parseCidr(text);
    return cidr ? [{ text, cidr }] : [];
  });
}
