import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { AppError } from "#proto/error.ts";
import type { IpFamily } from "#proto/ip.ts";
import { pause } from "#proto/backoff.ts";
import type { KernelTools } from "../exec.ts";
import type { IptablesKind } from "../iptables/apply.ts";
import { NO_EXTERNAL_LINES, openDevice } from "./device.ts";
import type { Edge } from "./edge.ts";
import { oursOf, parseActivity } from "./listing.ts";
import { DEVICE, setWord } from "./names.ts";
import { TABLES, type TableName } from "./render.ts";
import { namesOfOurs, renderTable } from "./rules-text.ts";
import type { HeldServer, ServerKey } from "./servers.ts";
import { IDLE_SECONDS, idleTimeout, KERNEL_SECONDS, setIdleTimeout } from "./timeouts.ts";

/** Takes out what is ours and nothing else, and looks whether it is gone. */

export interface Cleanup {
  readonly tools: KernelTools;
  readonly edge: Edge;
  readonly family: IpFamily;
  readonly kinds: readonly IptablesKind[];
  readonly procNet: string;
  readonly dryRun: boolean;
  readonly openMs?: number | undefined;
}

/**
 * Another data plane may have taken over: new connections are its own, and those that run here get a moment to end. That is more for those that are
 * open: the others begin, which takes a second when a packet was lost, or have ended, and are only kept in mind for two minutes.
 */
const GRACE_MS = 2_000;
const OPEN_MS = 10_000;

export async function cleanupIpvs(cleanup: Cleanup, signal: AbortSignal): Promise<readonly string[]> {
  const found = await lookFor(cleanup, signal);
  const names = namesIn(found, cleanup);
  if (cleanup.dryRun || names.length === 0) return names;
  await removeRules(cleanup, found, ["nat"], signal);
  await connectionsEnd(cleanup, found.servers, signal);
  await removeRules(cleanup, found, ["filter", "mangle"], signal);
  await removeRest(cleanup, found, signal);
  const left = namesIn(await lookFor(cleanup, signal), cleanup);
  if (left.length > 0) throw new AppError("KernelRejected", `still there after the clean-up: ${left.slice(0, 5).join(", ")}`);
  return names;
}

interface Found {
  readonly rules: readonly { readonly kind: IptablesKind; readonly table: TableName; readonly names: readonly string[] }[];
  readonly servers: ReadonlyMap<ServerKey, HeldServer>;
  readonly sets: readonly string[];
  readonly addresses: readonly string[];
  readonly device: "none" | "ours" | "shared";
  readonly hasRule: boolean;
  readonly idleSeconds: number | undefined;
}

async function lookFor({ tools, edge, family, kinds, procNet }: Cleanup, signal: AbortSignal): Promise<Found> {
  const device = openDevice(tools, { family, procNet });
  const standing = await device.standing(signal);
  if (standing !== "none") await expectTools({ tools, kinds, procNet });
  const rules: Found["rules"][number][] = [];
  for (const kind of kinds) {
    const listing = await edge.listRules(kind, signal);
    for (const table of TABLES) rules.push({ kind, table, names: namesOfOurs(table, listing[table]) });
  }
  const sets = await edge.listSets(signal).catch(ifMissing(signal, new Map<never, never>()));
  const { addresses: routes, externalRules } = await device.look(signal);
  const addresses = [...routes.keys()];
  // A kernel without virtual servers says so with an exit code: there are none of ours.
  const all = await edge.listServers(signal).catch(ifMissing(signal, new Map<ServerKey, HeldServer>()));
  return {
    rules: rules.filter(({ names }) => names.length > 0),
    servers: oursOf(all, { ranges: addresses, sets }),
    sets: Array.from(sets.keys(), (set) => setWord(family, set)),
    addresses,
    device: standing,
    hasRule: externalRules !== "none",
    idleSeconds: all.size > 0 || sets.size > 0 ? await idleTimeout(tools, signal).catch(ifMissing(signal, undefined)) : undefined,
  };
}

/** The device goes last: while it is there, what only these can see and take away may be there as well. */
async function expectTools({ tools, kinds, procNet }: Pick<Cleanup, "tools" | "kinds" | "procNet">): Promise<void> {
  // On a kernel without virtual servers the tool does not even start.
  const servers = await readFile(join(procNet, "ip_vs"), "utf8").catch(() => "");
  const needed = [...(/^(TCP|UDP|SCTP|FWM) /m.test(servers) ? ["ipvsadm"] : []), "ipset"];
  const missing = kinds.length === 0 ? ["iptables"] : [];
  for (const tool of needed) if (!(await tools.has(tool))) missing.push(tool);
  if (missing.length === 0) return;
  throw new AppError(
    "KernelRejected",
    `IPVS has programmed this host, and the tools to take that away are not here: ${missing.join(", ")}`,
    {
      hint: `apt-get install ${missing.join(" ")}, and then this again`,
    },
  );
}

function namesIn({ rules, servers, sets, addresses, device, hasRule, idleSeconds }: Found, { family, dryRun }: Cleanup): readonly string[] {
  const program = family === "IPv4" ? "iptables" : "ip6tables";
  // IPv6 is cleaned up last, and takes along what both have.
  const isLast = device === "ours" || (device === "shared" && dryRun && family === "IPv6");
  return [
    ...rules.flatMap(({ kind, names }) => names.map((name) => `${program}-${kind} ${name}`)),
    ...Array.from(servers.keys(), (key) => `virtual server ${typeof key === "number" ? `FWM ${key}` : key}`),
    ...sets.map((set) => `set ${set}`),
    ...addresses.map((address) => `route local ${address} dev ${DEVICE}`),
    ...(hasRule ? [`${family} routing rule for external IPs`] : []),
    ...(isLast ? [`device ${DEVICE}`] : []),
    ...(isLast && idleSeconds === IDLE_SECONDS ? [`idle time of virtual servers, ${IDLE_SECONDS} s`] : []),
  ];
}

async function removeRules({ edge }: Cleanup, { rules }: Found, tables: readonly TableName[], signal: AbortSignal): Promise<void> {
  for (const [kind, ours] of Map.groupBy(rules, (one) => one.kind)) {
    const now = ours.flatMap(({ table }) => (tables.includes(table) ? [table] : []));
    if (now.length === 0) continue;
    const listing = await edge.listRules(kind, signal);
    await edge.rules(kind, now.map((table) => renderTable(table, { wanted: undefined, listing: listing[table] }, "")).join(""));
  }
}

async function removeRest(
  { tools, edge, family }: Cleanup,
  { servers, sets, addresses, device, hasRule }: Found,
  signal: AbortSignal,
): Promise<void> {
  const option = family === "IPv6" ? " -6" : "";
  await edge.servers(Array.from(servers.keys(), (key) => `-D ${typeof key === "number" ? `-f ${key}${option}` : key}\n`).join(""));
  await edge.sets(sets.map((set) => `destroy ${set}\n`).join(""));
  const lines = [
    ...(hasRule ? NO_EXTERNAL_LINES : []),
    ...addresses.map((address) => `route del local ${address} dev ${DEVICE}`),
    ...(device === "ours" ? [`link del dev ${DEVICE}`] : []),
  ];
  await edge.ip(lines, { goOn: true }); // whether all is gone is looked at in the end
  if (device !== "ours") return;
  await setIdleTimeout(tools, { from: IDLE_SECONDS, to: KERNEL_SECONDS }, signal).catch(ifMissing(signal, []));
}

async function connectionsEnd(
  { family, procNet, openMs = OPEN_MS }: Cleanup,
  servers: Found["servers"],
  signal: AbortSignal,
): Promise<void> {
  const startedAt = performance.now();
  while (!signal.aborted) {
    const text = await readFile(join(procNet, "ip_vs"), "utf8").catch(() => "");
    const has = (which: "all" | "open"): boolean =>
      [...parseActivity(text, family, which)].some(([key, reals]) => servers.has(key) && [...reals.values()].some((count) => count > 0));
    const waitedMs = performance.now() - startedAt;
    if (waitedMs >= GRACE_MS ? waitedMs >= openMs || !has("open") : !has("all")) return;
    await pause(50, signal);
  }
}

/** A tool, or a part of the kernel, that is not there holds nothing of ours. */
function ifMissing<T>(signal: AbortSignal, instead: T): (cause: unknown) => T {
  return (cause) => {
    if (signal.aborted) throw cause;
    return instead;
  };
}
