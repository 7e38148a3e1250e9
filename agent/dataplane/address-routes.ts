import { formatCidr, formatIp, parseCidr, parseIp, prefixOf, type IpFamily } from "#proto/ip.ts";
import type { CompiledService } from "#agent/compile/table.ts";
import { followServices } from "#agent/follow-services.ts";
import type { KernelTools } from "./exec.ts";
import { UseCount } from "./frontends.ts";
import type { DataplaneLog } from "./log.ts";
import { createTableMailbox, type TableSink } from "./mailbox.ts";
import { addRoutes, flagOf, leadsSomewhere, ourRoutes, removeRoutes, ROUTE_PROTOCOL, routes, waysTo, type Route } from "./route-edge.ts";
import { sourceOf } from "./route.ts";
import { createTeller } from "./teller.ts";

/**
 * What a host without a default route needs for the range of virtual IPs (route.ts), it needs for addresses of load balancers and external ones too: a
 * route over lo for each that the kernel has no other way to. What comes or goes costs one process for all of it, and two where there was no way;
 * all are looked at as seldom as that is expensive.
 */
export interface AddressRoutes extends TableSink {
  /** Until the signal; the routes stay when it ends, as the rules do. Nothing is touched before the first table. */
  run(signal: AbortSignal): Promise<void>;
}

export interface AddressRoutesDeps {
  readonly tools: KernelTools;
  /** This node's, as they are now: a packet begins with the first one of its family. */
  readonly addresses: () => readonly string[];
  readonly log: DataplaneLog;
  /** What keeps the host from having the routes that it needs; undefined = nothing any more. */
  readonly onProblem?: (problem: unknown) => void;
  readonly lookEveryMs?: number;
}

const LOOK_EVERY_MS = 5000;
/** So many looked at cost some 10 ms of a core: more are looked at less often. */
const LOOKED_AT_ONCE = 500;
const FOREVER_MS = 2 ** 31 - 1;
const SHOWN = 3;
const FAMILIES = ["IPv4", "IPv6"] as const;

interface Done {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

export function createAddressRoutes(deps: AddressRoutesDeps): AddressRoutes {
  const { log, onProblem, lookEveryMs = LOOK_EVERY_MS } = deps;
  const mailbox = createTableMailbox();
  const keeper = createKeeper(deps);
  const teller = createTeller({ log, onProblem, message: "cannot make routes to addresses of services" });

  const attempt = async (work: () => Promise<Done>, signal: AbortSignal): Promise<void> => {
    try {
      const done = await work();
      if (done.added.length + done.removed.length > 0)
        log.info(fieldsOf(done), "a host that has no route to addresses of services gets one, and only such a host");
      teller.succeeded();
    } catch (error) {
      if (!signal.aborted) teller.failed(error);
    }
  };

  return {
    put: (update) => mailbox.put(update),
    async run(signal) {
      let lookAt = performance.now();
      let timeoutMs = FOREVER_MS; // until the first table
      while (!signal.aborted) {
        const update = await mailbox.take({ timeoutMs }, signal).catch(() => undefined);
        if (isOver(signal)) return;
        if (update) keeper.put(update);
        if (performance.now() < lookAt) await attempt(() => keeper.followChange(signal), signal);
        else {
          await attempt(() => keeper.lookAtAll(signal), signal);
          lookAt = performance.now() + lookEveryMs * Math.max(1, keeper.size() / LOOKED_AT_ONCE);
        }
        timeoutMs = Math.max(lookAt - performance.now(), 0);
      }
    },
  };
}

interface Keeper extends TableSink {
  /** How many addresses there are. */
  size(): number;
  followChange(signal: AbortSignal): Promise<Done>;
  lookAtAll(signal: AbortSignal): Promise<Done>;
}

function createKeeper(deps: AddressRoutesDeps): Keeper {
  const wanted = new UseCount();
  const follower = followServices<readonly string[]>({
    of: outsideAddressesOf,
    onChange(_key, now = [], before = []) {
      for (const address of now) wanted.add(address);
      for (const address of before) wanted.remove(address);
    },
  });
  /** Addresses that have a route of ours; undefined = not known. */
  let ours: Set<string> | undefined;

  const apply = async (known: Set<string>, change: Done, signal: AbortSignal): Promise<Done> => {
    ours = undefined; // until it is known to have been done
    const done = await applyChange(deps, change, signal);
    for (const address of done.removed) known.delete(address);
    for (const address of done.added) known.add(address);
    ours = known;
    return done;
  };

  const lookAtAll = async (signal: AbortSignal): Promise<Done> => {
    wanted.take();
    const all = [...wanted.words()];
    const families = ours ? byFamily([...all, ...ours]).keys() : FAMILIES;
    const { there, unneeded } = await lookAtOurs(deps.tools, { families, isWanted: (address) => wanted.has(address) }, signal);
    return apply(there, { added: all.filter((address) => !there.has(address)), removed: unneeded }, signal);
  };

  return {
    put: (update) => follower.put(update),
    size: () => [...wanted.words()].length,
    lookAtAll,
    async followChange(signal) {
      const known = ours;
      if (!known) return lookAtAll(signal);
      const { added, removed } = wanted.take();
      return apply(known, { added, removed: removed.filter((address) => known.has(address)) }, signal);
    },
  };
}

/** Which routes of ours there are, and which of them are not needed: nobody wants them, or another leads there too. */
async function lookAtOurs(
  tools: KernelTools,
  { families, isWanted }: { readonly families: Iterable<IpFamily>; readonly isWanted: (address: string) => boolean },
  signal: AbortSignal,
): Promise<{ readonly there: Set<string>; readonly unneeded: readonly string[] }> {
  const all = new Set<string>();
  const unneeded: string[] = [];
  for (const family of families) {
    const flag = flagOf({ family });
    const there = (await ourRoutes(tools, flag, signal)).map(({ dst }) => dst).filter((dst) => !dst.includes("/"));
    for (const dst of there) all.add(dst);
    const isHeld = there.some(isWanted) ? holderOf(family, await routes(tools, flag, ["table", "main"], signal)) : () => false;
    unneeded.push(...there.filter((dst) => !isWanted(dst) || isHeld(dst)));
  }
  return { there: all, unneeded };
}

/** Of what is to be added, what the kernel has no way to is. */
async function applyChange({ tools, addresses }: AddressRoutesDeps, { added, removed }: Done, signal: AbortSignal): Promise<Done> {
  for (const [family, gone] of byFamily(removed)) await removeRoutes(tools, flagOf({ family }), gone, signal);
  const missing: string[] = [];
  for (const [family, asked] of byFamily(added)) {
    const flag = flagOf({ family });
    const source = sourceOf(addresses(), { family });
    if (source === undefined) continue; // no address of the family: there is nowhere to go
    const reached = new Set((await waysTo(tools, flag, asked, signal)).map(({ dst }) => dst));
    const destinations = asked.filter((address) => !reached.has(address));
    await addRoutes(tools, { flag, destinations, source }, signal);
    missing.push(...destinations);
  }
  return { added: missing, removed };
}

/** Does a route that is not ours lead there? By the prefixes that there are, so that many addresses and many routes do not multiply. */
export function holderOf(family: IpFamily, found: readonly Route[]): (address: string) => boolean {
  const width = family === "IPv4" ? 32 : 128;
  const prefixes = new Set<string>();
  const lengths = new Set<number>();
  for (const route of found) {
    if (route.protocol === ROUTE_PROTOCOL || !leadsSomewhere(route)) continue;
    const ip = parseIp(route.dst);
    const cidr = ip ? prefixOf(ip, width) : parseCidr(route.dst === "default" ? (family === "IPv4" ? "0.0.0.0/0" : "::/0") : route.dst);
    if (!cidr) continue;
    prefixes.add(formatCidr(cidr));
    lengths.add(cidr.prefix);
  }
  return (address) => {
    const ip = parseIp(address);
    return ip !== undefined && [...lengths].some((length) => prefixes.has(formatCidr(prefixOf(ip, length))));
  };
}

/** As iproute2 prints them. */
function outsideAddressesOf({ frontends }: CompiledService): readonly string[] | undefined {
  const outside = frontends.filter(({ scope }) => scope === "loadBalancer" || scope === "external");
  const addresses = outside.map(({ address }) => parseIp(address)).filter((ip) => ip !== undefined);
  return addresses.length === 0 ? undefined : [...new Set(addresses.map(formatIp))];
}

function byFamily(addresses: readonly string[]): Map<IpFamily, string[]> {
  return Map.groupBy(addresses, (address) => (address.includes(":") ? "IPv6" : "IPv4"));
}

function fieldsOf({ added, removed }: Done): object {
  const shown = (all: readonly string[]): readonly string[] =>
    all.length <= SHOWN ? all : [...all.slice(0, SHOWN), `and ${all.length - SHOWN} more`];
  return { added: shown(added), removed: shown(removed) };
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
