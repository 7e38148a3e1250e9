import type { Cause } from "#proto/error.ts";
import { formatCidr, overlaps, parseCidr, type Cidr } from "#proto/ip.ts";
import { ROUTED_CIDRS_ANNOTATION, routedTexts, type Node } from "#proto/node.ts";
import { fault } from "#proto/parse.ts";
import { prefixesOf } from "./node-networks.ts";

/**
 * Which networks a host may draw to itself: every other host gets a route to them. Overlaps with others are no matter here, since each is one of
 * spec.podCIDRs, where they are refused. Pure.
 */

/** A wider one is nobody's Docker network, and would take much from all hosts. */
const WIDEST = { IPv4: 16, IPv6: 48 } as const;

/** RFC 1918, 6598 (shared), 2544 (test networks), 4193. */
const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7"].flatMap(
  (text) => parseCidr(text) ?? [],
);

export function routedFaults(
  previous: Node | undefined,
  next: Node,
  { onlyPrivateRoutes }: { readonly onlyPrivateRoutes: boolean },
): readonly Cause[] {
  const text = next.metadata.annotations?.[ROUTED_CIDRS_ANNOTATION];
  if (text === undefined || text === previous?.metadata.annotations?.[ROUTED_CIDRS_ANNOTATION]) return [];
  const behind = new Set(prefixesOf(next).map(({ cidr }) => formatCidr(cidr)));
  return routedTexts(text).flatMap((one, i) => {
    const why = routedFault(one, { behind, onlyPrivateRoutes });
    return why === undefined ? [] : [fault(`metadata.annotations[${ROUTED_CIDRS_ANNOTATION}][${i}]`, why, { value: one })];
  });
}

function routedFault(
  text: string,
  { behind, onlyPrivateRoutes }: { readonly behind: ReadonlySet<string>; readonly onlyPrivateRoutes: boolean },
): string | undefined {
  const cidr = parseCidr(text);
  if (!cidr) return "must be a prefix like 10.200.1.0/24";
  if (!behind.has(formatCidr(cidr))) return "must be one of spec.podCIDRs";
  if (cidr.prefix < WIDEST[cidr.family]) return `is wider than /${WIDEST[cidr.family]}: give the network a smaller subnet`;
  if (onlyPrivateRoutes && !isPrivate(cidr))
    return "is not private: a host may draw only private networks to itself (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, 198.18.0.0/15, fc00::/7)";
  return undefined;
}

function isPrivate(cidr: Cidr): boolean {
  return PRIVATE.some((one) => one.prefix <= cidr.prefix && overlaps(one, cidr));
}
