import { AppError } from "#proto/error.ts";
import { overlaps, parseCidr, parseIp, prefixOf } from "#proto/ip.ts";

/** A route of this host, as `ip -j route` tells it. */
export interface LocalRoute {
  /** `10.0.0.0/8`, `10.0.0.5` or `default`. */
  readonly dst: string;
  readonly dev?: string | undefined;
}

/**
 * Throws where a virtual range overlaps what this host reaches by a route of its own: its addresses would be taken away from whoever has them.
 * The default route leads everywhere and says nothing.
 */
export function checkRanges(serviceCidrs: readonly string[], routes: readonly LocalRoute[]): void {
  for (const text of serviceCidrs) {
    const range = parseCidr(text);
    const taken = range && routes.find((route) => !isOfAgent(route) && overlapsRoute(range, route));
    if (!taken) continue;
    throw new AppError(
      "Usage",
      `the service range ${text} overlaps the route ${taken.dst}${taken.dev === undefined ? "" : ` dev ${taken.dev}`} of this host`,
      {
        hint: "choose a range that nobody uses with --service-cidr, for example 10.200.0.0/16",
      },
    );
  }
}

/** An agent on this host has the DNS service's address on lo, and may have led the whole range there; virtual IPs of its IPVS are on fairlead0. */
function isOfAgent({ dev }: LocalRoute): boolean {
  return dev === "lo" || dev === "fairlead0";
}

function overlapsRoute(range: NonNullable<ReturnType<typeof parseCidr>>, { dst }: LocalRoute): boolean {
  const ip = parseIp(dst);
  const route = ip ? prefixOf(ip, ip.family === "IPv4" ? 32 : 128) : parseCidr(dst);
  return route !== undefined && route.prefix > 0 && overlaps(range, route);
}
