import { AppError } from "#proto/error.ts";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { parseRoutes, ROUTE_PROTOCOL, routes, type Flag, type Route } from "#agent/dataplane/route-edge.ts";
import type { Announced } from "./announced.ts";
import type { PeerRoute } from "./verdict.ts";

/** The thin edge of routes to other hosts' containers: what the kernel's main table has, and lines for `ip -batch`. */

/** A route of somebody else's to the same place comes before ours, also while both are there. */
const METRIC = "7600";
const TIMEOUT_MS = 5000;

export function isPeerRoute({ protocol, dev }: Route): boolean {
  return protocol === ROUTE_PROTOCOL && dev !== "lo";
}

export function allRoutes(tools: KernelTools, flag: Flag, signal: AbortSignal): Promise<readonly Route[]> {
  return routes(tools, flag, ["table", "main"], signal);
}

/** Those that lead to these networks or into them, and to who is to hand over. As much output as there are of these, however many routes the host has. */
export async function routesAbout(
  tools: KernelTools,
  flag: Flag,
  about: readonly Pick<Announced, "text" | "hops">[],
  signal: AbortSignal,
): Promise<readonly Route[]> {
  const lines = about.flatMap(({ text, hops }) => [`root ${text}`, `match ${text}`, ...hops.map((hop) => `match ${hop}`)]);
  const input = [...new Set(lines)].map((line) => `route show table main ${line}\n`).join("");
  const options = { input, signal, accept: [1, 2], timeoutMs: TIMEOUT_MS + lines.length };
  const { stdout } = await tools.run("ip", ["-j", flag, "-force", "-batch", "-"], options);
  const found = new Map(
    stdout
      .split("\n")
      .flatMap(parseRoutes)
      .map((route) => [JSON.stringify(route), route]),
  );
  return [...found.values()];
}

export interface RouteChange {
  readonly add: readonly PeerRoute[];
  readonly remove: readonly PeerRoute[];
}

export async function changeRoutes(tools: KernelTools, flag: Flag, { add, remove }: RouteChange, signal: AbortSignal): Promise<void> {
  const lines = (verb: string, all: readonly PeerRoute[], end: string): string =>
    all
      .map(({ destination, hop, dev }) => `route ${verb} ${destination} via ${hop} dev ${dev} protocol ${ROUTE_PROTOCOL}${end}\n`)
      .join("");
  const options = { signal, accept: [1], timeoutMs: TIMEOUT_MS + add.length + remove.length };
  const run = (input: string) => tools.run("ip", [flag, "-force", "-batch", "-"], { ...options, input });
  if (remove.length > 0) await run(lines("delete", remove, "")); // one that went by itself meanwhile is no error
  if (add.length === 0) return;
  const { exitCode, stderr } = await run(lines("add", add, ` metric ${METRIC}`));
  if (exitCode !== 0) throw new AppError("KernelRejected", `ip route add: ${stderr.split("\n", 1)[0] ?? ""}`);
}

/** Every one of ours, of both families. Returns what went, or would go. */
export async function removePeerRoutes(
  tools: KernelTools,
  { dryRun }: { readonly dryRun: boolean },
  signal: AbortSignal,
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const flag of ["-4", "-6"] as const) {
    // Where it is asked for by its protocol, `ip` does not say it.
    const found = (await routes(tools, flag, ["protocol", ROUTE_PROTOCOL], signal)).filter(({ dev }) => dev !== "lo").map(peerRouteOf);
    if (!dryRun) await changeRoutes(tools, flag, { add: [], remove: found }, signal);
    removed.push(...found.map(wordsOf));
  }
  return removed;
}

export function peerRouteOf({ dst, gateway = "", dev = "" }: Route): PeerRoute {
  // `ip` leaves out the length of a host's route.
  return { destination: dst.includes("/") ? dst : `${dst}/${dst.includes(":") ? 128 : 32}`, hop: gateway, dev };
}

export function wordsOf({ destination, hop, dev }: PeerRoute): string {
  return `route ${destination} via ${hop} dev ${dev}`;
}
