import { z } from "zod";
import type { IpFamily } from "#proto/ip.ts";
import type { KernelTools } from "./exec.ts";

/** The thin edge of our routes: what the kernel has, and lines for `ip -batch`. */

/** Marks our routes in the kernel itself, so that they are found by an agent that knows nothing else of the host. Nobody else's in iproute2 and FRR. */
export const ROUTE_PROTOCOL = "76";

const RouteJson = z.array(
  z.looseObject({
    dst: z.string(),
    dev: z.string().optional(),
    type: z.string().optional(),
    protocol: z.string().optional(),
    gateway: z.string().optional(),
    /** Of another family than the destination's. */
    via: z.looseObject({ host: z.string() }).optional(),
    nexthops: z.array(z.unknown()).optional(),
    metric: z.int().optional(),
    flags: z.array(z.string()).optional(),
  }),
);
export type Route = z.output<typeof RouteJson>[number];

export type Flag = "-4" | "-6";

const TIMEOUT_MS = 5000;
const NO_WAY: ReadonlySet<string> = new Set(["unreachable", "blackhole", "prohibit", "throw"]);

export function flagOf({ family }: { readonly family: IpFamily }): Flag {
  return family === "IPv4" ? "-4" : "-6";
}

/** A dead one is listed and not used: its link is down, and ignore_routes_with_linkdown is 1. */
export function leadsSomewhere({ type, flags = [] }: Route): boolean {
  return !NO_WAY.has(type ?? "") && !flags.includes("dead");
}

/** What `ip route show` prints with these words. */
export async function routes(tools: KernelTools, flag: Flag, words: readonly string[], signal: AbortSignal): Promise<readonly Route[]> {
  // 2 = the kernel has no such family.
  const { stdout } = await tools.run("ip", ["-j", flag, "route", "show", ...words], { signal, accept: [2], timeoutMs: TIMEOUT_MS });
  return parseRoutes(stdout);
}

/** Those over lo: what leads to other hosts is agent/routed's. */
export async function ourRoutes(tools: KernelTools, flag: Flag, signal: AbortSignal): Promise<readonly Route[]> {
  return (await routes(tools, flag, ["protocol", ROUTE_PROTOCOL], signal)).filter(({ dev }) => dev === "lo");
}

/** Of these addresses, what a process of the host that sends to them gets, where it gets anything. One process for all of them. */
export async function waysTo(tools: KernelTools, flag: Flag, addresses: readonly string[], signal: AbortSignal): Promise<readonly Route[]> {
  if (addresses.length === 0) return [];
  const input = addresses.map((address) => `route get ${address}\n`).join("");
  // 1 = some line failed: the kernel says why there is no way.
  const options = { input, signal, accept: [1], timeoutMs: TIMEOUT_MS + addresses.length };
  const { stdout } = await tools.run("ip", ["-j", flag, "-force", "-batch", "-"], options);
  return stdout.split("\n").flatMap(parseRoutes).filter(leadsSomewhere);
}

export interface NewRoutes {
  readonly flag: Flag;
  readonly destinations: readonly string[];
  /** What packets begin with. */
  readonly source: string;
}

export async function addRoutes(tools: KernelTools, { flag, destinations, source }: NewRoutes, signal: AbortSignal): Promise<void> {
  if (destinations.length === 0) return;
  const lines = (rest: string, of = destinations): string =>
    of.map((destination) => `route add ${destination} dev lo protocol ${ROUTE_PROTOCOL}${rest}\n`).join("");
  const timeoutMs = TIMEOUT_MS + destinations.length;
  const { exitCode } = await tools.run("ip", [flag, "-force", "-batch", "-"], {
    input: lines(` src ${source}`),
    signal,
    accept: [1],
    timeoutMs,
  });
  if (exitCode === 0) return;
  // The address may be one that others know this host by, and that it does not have itself: then the kernel chooses.
  const there = new Set((await ourRoutes(tools, flag, signal)).map(({ dst }) => dst));
  const left = destinations.filter((destination) => !there.has(destination));
  if (left.length > 0) await tools.run("ip", [flag, "-batch", "-"], { input: lines("", left), signal, timeoutMs });
}

/** One that went by itself meanwhile is no error. */
export async function removeRoutes(tools: KernelTools, flag: Flag, destinations: readonly string[], signal: AbortSignal): Promise<void> {
  if (destinations.length === 0) return;
  const input = destinations.map((destination) => `route delete ${destination} dev lo protocol ${ROUTE_PROTOCOL}\n`).join("");
  await tools.run("ip", [flag, "-force", "-batch", "-"], { input, signal, accept: [1], timeoutMs: TIMEOUT_MS + destinations.length });
}

export function wordsOfRoute(destination: string): string {
  return `route ${destination} dev lo`;
}

export function parseRoutes(stdout: string): readonly Route[] {
  return stdout.trim() === "" ? [] : RouteJson.parse(JSON.parse(stdout));
}
