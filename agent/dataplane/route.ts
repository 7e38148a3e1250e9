import { z } from "zod";
import { pause } from "#proto/backoff.ts";
import { describeError } from "#proto/error.ts";
import { formatCidr, formatIp, overlaps, parseCidr, parseIp, prefixOf, type Cidr } from "#proto/ip.ts";
import type { KernelTools } from "./exec.ts";
import type { DataplaneLog } from "./log.ts";

/**
 * A host without any route towards the range of virtual IPs (no default route): the kernel refuses what its own processes send there before any rule sees
 * it. One route over lo lets the packet come as far as the rules, which turn it to an endpoint; the kernel then looks up the route to that. What a
 * host forwards needs none of this: there the rules come first.
 */

/** Marks our routes in the kernel itself, so that they are found by an agent that knows nothing else of the host. Nobody else's in iproute2 and FRR. */
export const ROUTE_PROTOCOL = "76";
const LOOK_EVERY_MS = 5000;
const TIMEOUT_MS = 5000;

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
}

/** Until the signal; the routes stay when it ends, as the rules do. */
export async function keepRangeRoutes(deps: RangeRoutesDeps, signal: AbortSignal): Promise<void> {
  const { log, onProblem, lookEveryMs = LOOK_EVERY_MS } = deps;
  const keep = deps.serviceCidrs;
  let told: string | undefined;
  let before: readonly string[] | undefined; // what went of an earlier run, whose ranges may have been others
  while (!signal.aborted) {
    try {
      before ??= await removeRangeRoutes(deps.tools, { dryRun: false, keep }, signal);
      const changed = await ensureRangeRoutes(deps, signal);
      if (changed.length > 0) log.info({ changed }, "a host without a default route gets one to the virtual IPs, and only such a host");
      if (told !== undefined) onProblem?.(undefined);
      told = undefined;
    } catch (error) {
      if (isOver(signal)) return;
      const problem = describeError(error);
      if (told !== problem) log.warn({ error: problem }, "cannot make a route to the virtual IPs");
      if (told !== problem) onProblem?.(error);
      told = problem;
    }
    await pause(lookEveryMs, signal);
  }
}

/** One look: adds what is missing, takes away what is not needed any more; says what it did. Costs one process a range where nothing is to do. */
export async function ensureRangeRoutes(
  { tools, serviceCidrs, addresses }: Pick<RangeRoutesDeps, "tools" | "serviceCidrs" | "addresses">,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const changed: string[] = [];
  for (const range of serviceCidrs.map(parseCidr)) {
    if (!range) continue;
    const way = await wayTo(tools, range, signal);
    if (way === "none") {
      const source = addresses().find((address) => parseIp(address)?.family === range.family);
      if (source === undefined) continue; // no address of the family: there is nowhere to go
      await add(tools, range, source, signal);
      changed.push(`added the ${wordsOf(formatCidr(range))}`);
    } else if (way === "loopback" && (await hasAnother(tools, range, signal))) {
      await remove(tools, formatCidr(range), signal);
      changed.push(`removed the ${wordsOf(formatCidr(range))}`);
    }
  }
  return changed;
}

/** Every route of ours, whatever the ranges are now, except to those that are kept. Returns what went, or would go. */
export async function removeRangeRoutes(
  tools: KernelTools,
  { dryRun, keep = [] }: { readonly dryRun: boolean; readonly keep?: readonly string[] },
  signal: AbortSignal,
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const flag of ["-4", "-6"]) {
    const found = await routes(tools, [flag, "route", "show", "protocol", ROUTE_PROTOCOL], signal);
    for (const { dst } of found) {
      if (keep.includes(dst)) continue;
      if (!dryRun) await remove(tools, dst, signal);
      removed.push(wordsOf(dst));
    }
  }
  return removed;
}

const RouteJson = z.array(
  z.looseObject({ dst: z.string(), dev: z.string().optional(), type: z.string().optional(), protocol: z.string().optional() }),
);
type Route = z.output<typeof RouteJson>[number];

const NO_WAY: ReadonlySet<string> = new Set(["unreachable", "blackhole", "prohibit", "throw"]);

/** What a process of the host that sends to the range gets; "loopback" may be our own route. */
async function wayTo(tools: KernelTools, range: Cidr, signal: AbortSignal): Promise<"none" | "loopback" | "elsewhere"> {
  // The range's own first address: nobody ever has it, also where virtual IPs are addresses of the host (IPVS).
  const address = formatIp({ family: range.family, value: range.base });
  // 2 = the kernel says why there is none: unreachable, prohibited, blackhole.
  const { stdout, exitCode } = await tools.run("ip", ["-j", flagOf(range), "route", "get", address], {
    signal,
    accept: [2],
    timeoutMs: TIMEOUT_MS,
  });
  if (exitCode !== 0) return "none";
  const [found] = parseRoutes(stdout);
  if (!found || NO_WAY.has(found.type ?? "")) return "none";
  return found.dev === "lo" ? "loopback" : "elsewhere";
}

/** Is ours there, and another one that holds the range? */
async function hasAnother(tools: KernelTools, range: Cidr, signal: AbortSignal): Promise<boolean> {
  const matching = await routes(tools, [flagOf(range), "route", "show", "match", formatCidr(range)], signal);
  const isOurs = ({ protocol, dst }: Route): boolean => protocol === ROUTE_PROTOCOL && dst === formatCidr(range);
  return matching.some(isOurs) && matching.some((route) => !isOurs(route) && !NO_WAY.has(route.type ?? "") && holds(route, range));
}

function holds({ dst }: Route, range: Cidr): boolean {
  if (dst === "default") return true;
  const ip = parseIp(dst);
  const cidr = ip ? prefixOf(ip, ip.family === "IPv4" ? 32 : 128) : parseCidr(dst);
  return cidr !== undefined && cidr.prefix <= range.prefix && overlaps(cidr, range);
}

async function add(tools: KernelTools, range: Cidr, source: string, signal: AbortSignal): Promise<void> {
  const route = [flagOf(range), "route", "add", formatCidr(range), "dev", "lo", "protocol", ROUTE_PROTOCOL];
  try {
    await tools.run("ip", [...route, "src", source], { signal, timeoutMs: TIMEOUT_MS });
  } catch {
    signal.throwIfAborted();
    // The address may be one that others know this host by, and that it does not have itself: then the kernel chooses.
    await tools.run("ip", route, { signal, timeoutMs: TIMEOUT_MS });
  }
}

/** 2 = it went by itself meanwhile. */
async function remove(tools: KernelTools, range: string, signal: AbortSignal): Promise<void> {
  const flag = range.includes(":") ? "-6" : "-4";
  const route = [flag, "route", "delete", range, "dev", "lo", "protocol", ROUTE_PROTOCOL];
  await tools.run("ip", route, { signal, accept: [2], timeoutMs: TIMEOUT_MS });
}

async function routes(tools: KernelTools, args: readonly string[], signal: AbortSignal): Promise<readonly Route[]> {
  // 2 = the kernel has no such family.
  const { stdout } = await tools.run("ip", ["-j", ...args], { signal, accept: [2], timeoutMs: TIMEOUT_MS });
  return parseRoutes(stdout);
}

function parseRoutes(stdout: string): readonly Route[] {
  return stdout.trim() === "" ? [] : RouteJson.parse(JSON.parse(stdout));
}

function wordsOf(range: string): string {
  return `route ${range} dev lo`;
}

function flagOf({ family }: Cidr): "-4" | "-6" {
  return family === "IPv4" ? "-4" : "-6";
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
