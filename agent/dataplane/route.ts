import { pause } from "#proto/backoff.ts";
import { formatCidr, formatIp, overlaps, parseCidr, parseIp, prefixOf, type Cidr } from "#proto/ip.ts";
import type { KernelTools } from "./exec.ts";
import type { DataplaneLog } from "./log.ts";
import {
  addRoutes,
  flagOf,
  leadsSomewhere,
  ourRoutes,
  removeRoutes,
  ROUTE_PROTOCOL,
  routes,
  waysTo,
  wordsOfRoute,
  type Route,
} from "./route-edge.ts";
import { createTeller } from "./teller.ts";

/**
 * A host without any route towards the range of virtual IPs (no default route): the kernel refuses what its own processes send there before any rule sees
 * it. One route over lo lets the packet come as far as the rules, which turn it to an endpoint; the kernel then looks up the route to that. What a
 * host forwards needs none of this: there the rules come first. Addresses outside the range: address-routes.ts.
 */

const LOOK_EVERY_MS = 5000;

export interface RangeRoutesDeps {
  readonly tools: KernelTools;
  /** The ranges of virtual IPs. */
  readonly serviceCidrs: readonly string[];
  /** This node's, as they are now: a packet begins with the first one of its family. */
  readonly addresses: () => readonly string[];
  readonly log: DataplaneLog;
  /** What keeps the host from having the route that it needs; undefined = nothing any more. */
  readonly onProblem?: (problem: unknown) => void;
  readonly lookEveryMs?: number;
  /** Is there any way to an address? Where the last look found another's, this is asked first. Absent = each look starts a process. */
  readonly reaches?: (address: string) => Promise<boolean>;
}

/** Until the signal; the routes stay when it ends, as the rules do. */
export async function keepRangeRoutes(deps: RangeRoutesDeps, signal: AbortSignal): Promise<void> {
  const { tools, log, onProblem, lookEveryMs = LOOK_EVERY_MS } = deps;
  const teller = createTeller({ log, onProblem, message: "cannot make a route to the virtual IPs" });
  // Of an earlier run, whose ranges may have been others.
  const isStale = (destination: string): boolean => destination.includes("/") && !deps.serviceCidrs.includes(destination);
  let before: readonly string[] | undefined;
  const elsewhere = new Set<string>();
  while (!signal.aborted) {
    try {
      before ??= await removeOurRoutes(tools, { dryRun: false, which: isStale }, signal);
      const changed = await ensureRangeRoutes({ ...deps, elsewhere }, signal);
      if (changed.length > 0) log.info({ changed }, "a host without a default route gets one to the virtual IPs, and only such a host");
      teller.succeeded();
    } catch (error) {
      if (isOver(signal)) return;
      teller.failed(error);
    }
    await pause(lookEveryMs, signal);
  }
}

interface RangesLookedAt extends Pick<RangeRoutesDeps, "tools" | "serviceCidrs" | "addresses" | "reaches"> {
  /** Ranges that routes of others led to at the last look: as long as there is a way there, nothing is to be done. */
  readonly elsewhere?: Set<string>;
}

/** One look: adds what is missing, takes away what is not needed any more; says what it did. Costs at most one process a range where nothing is to do. */
export async function ensureRangeRoutes(
  { tools, serviceCidrs, addresses, reaches, elsewhere = new Set() }: RangesLookedAt,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const changed: string[] = [];
  for (const range of serviceCidrs.flatMap((text) => parseCidr(text) ?? [])) {
    const flag = flagOf(range);
    const destination = formatCidr(range);
    // The range's own first address: nobody ever has it, also where virtual IPs are addresses of the host (IPVS).
    const first = formatIp({ family: range.family, value: range.base });
    if (elsewhere.has(destination) && (await reaches?.(first)) === true) continue;
    elsewhere.delete(destination);
    const [way] = await waysTo(tools, flag, [first], signal);
    if (way && way.dev !== "lo") elsewhere.add(destination);
    if (!way) {
      const source = sourceOf(addresses(), range);
      if (source === undefined) continue; // no address of the family: there is nowhere to go
      await addRoutes(tools, { flag, destinations: [destination], source }, signal);
      changed.push(`added the ${wordsOfRoute(destination)}`);
    } else if (way.dev === "lo" && (await hasAnother(tools, range, signal))) {
      await removeRoutes(tools, flag, [destination], signal);
      changed.push(`removed the ${wordsOfRoute(destination)}`);
    }
  }
  return changed;
}

/** What packets to there shall begin with. */
export function sourceOf(addresses: readonly string[], { family }: Pick<Cidr, "family">): string | undefined {
  return addresses.find((address) => parseIp(address)?.family === family);
}

/** Every route of ours, to ranges and to single addresses. Returns what went, or would go. */
export async function removeOurRoutes(
  tools: KernelTools,
  { dryRun, which = () => true }: { readonly dryRun: boolean; readonly which?: (destination: string) => boolean },
  signal: AbortSignal,
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const flag of ["-4", "-6"] as const) {
    const found = (await ourRoutes(tools, flag, signal)).map(({ dst }) => dst).filter(which);
    if (!dryRun) await removeRoutes(tools, flag, found, signal);
    removed.push(...found.map(wordsOfRoute));
  }
  return removed;
}

/** Is ours there, and another one that holds the range? */
async function hasAnother(tools: KernelTools, range: Cidr, signal: AbortSignal): Promise<boolean> {
  const matching = await routes(tools, flagOf(range), ["match", formatCidr(range)], signal);
  const isOurs = ({ protocol, dst }: Route): boolean => protocol === ROUTE_PROTOCOL && dst === formatCidr(range);
  return matching.some(isOurs) && matching.some((route) => !isOurs(route) && leadsSomewhere(route) && holds(route, range));
}

function holds({ dst }: Route, range: Cidr): boolean {
  if (dst === "default") return true;
  const ip = parseIp(dst);
  const cidr = ip ? prefixOf(ip, ip.family === "IPv4" ? 32 : 128) : parseCidr(dst);
  return cidr !== undefined && cidr.prefix <= range.prefix && overlaps(cidr, range);
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
