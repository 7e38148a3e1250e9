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
 * route over lo for each that the kernel has no other way to. What comes or goes costs one process for all of it, and two where there was no way.
 * Whether another route leads there by now is looked at all the time; whether ours are still there, as seldom as that is expensive.
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
  readonly lookedAtOnce?: number;
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

/** What is to be done for each family. */
interface Changes {
  readonly families: Iterable<IpFamily>;
  readonly of: (family: IpFamily) => Done | Promise<Done>;
}

export function createAddressRoutes(deps: AddressRoutesDeps): AddressRoutes {
  const { log, onProblem, lookEveryMs = LOOK_EVERY_MS, lookedAtOnce = LOOKED_AT_ONCE } = deps;
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
      let lookAtAllAt = lookAt;
      let timeoutMs = FOREVER_MS; // until the first table
      while (!signal.aborted) {
        const update = await mailbox.take({ timeoutMs }, signal).catch(() => undefined);
        if (isOver(signal)) return;
        if (update) keeper.put(update);
        const now = performance.now();
        if (update && now < lookAtAllAt) await attempt(() => keeper.followChange(signal), signal);
        if (now >= lookAtAllAt) {
          await attempt(() => keeper.lookAtAll(signal), signal);
          lookAtAllAt = performance.now() + lookEveryMs * Math.max(1, keeper.size() / lookedAtOnce);
        } else if (now >= lookAt) await attempt(() => keeper.lookAtOthers(signal), signal);
        if (now >= lookAt) lookAt = performance.now() + lookEveryMs;
        timeoutMs = Math.max(Math.min(lookAt, lookAtAllAt) - performance.now(), 0);
      }
    },
  };
}

interface Keeper extends TableSink {
  /** How many addresses there are. */
  size(): number;
  followChange(signal: AbortSignal): Promise<Done>;
  lookAtAll(signal: AbortSignal): Promise<Done>;
  /** Only whether somebody else's route leads by now to where ours do: one process, and none where there is none of ours. */
  lookAtOthers(signal: AbortSignal): Promise<Done>;
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

  const apply = async (known: Set<string>, { families, of }: Changes, signal: AbortSignal): Promise<Done> => {
    ours = undefined; // until it is known to have been done
    const done = await eachFamily(families, async (family) => applyChange(deps, { family, ...(await of(family)) }, signal));
    for (const address of done.removed) known.delete(address);
    for (const address of done.added) known.add(address);
    ours = known;
    return done;
  };

  const lookAtAll = async (signal: AbortSignal): Promise<Done> => {
    wanted.take();
    const all = byFamily([...wanted.words()]);
    const families = ours ? byFamily([...wanted.words(), ...ours]).keys() : FAMILIES;
    const known = new Set<string>();
    const of = async (family: IpFamily): Promise<Done> => {
      const { there, unneeded } = await lookAtOurs(deps.tools, { family, isWanted: (address) => wanted.has(address) }, signal);
      for (const address of there) known.add(address);
      return { added: (all.get(family) ?? []).filter((address) => !there.has(address)), removed: unneeded };
    };
    return apply(known, { families, of }, signal);
  };

  return {
    put: (update) => follower.put(update),
    size: () => [...wanted.words()].length,
    lookAtAll,
    async lookAtOthers(signal) {
      const known = ours;
      if (!known) return lookAtAll(signal);
      const there = byFamily([...known]);
      const of = async (family: IpFamily): Promise<Done> => {
        const isHeld = holderOf(family, await routes(deps.tools, flagOf({ family }), ["table", "main"], signal));
        return { added: [], removed: (there.get(family) ?? []).filter(isHeld) };
      };
      return apply(known, { families: there.keys(), of }, signal);
    },
    async followChange(signal) {
      const known = ours;
      if (!known) return lookAtAll(signal);
      const change = wanted.take();
      const added = byFamily(change.added);
      const removed = byFamily(change.removed.filter((address) => known.has(address)));
      const of = (family: IpFamily): Done => ({ added: added.get(family) ?? [], removed: removed.get(family) ?? [] });
      return apply(known, { families: new Set([...removed.keys(), ...added.keys()]), of }, signal);
    },
  };
}

/** Which routes of ours there are, and which of them are not needed: nobody wants them, or another leads there too. */
async function lookAtOurs(
  tools: KernelTools,
  { family, isWanted }: { readonly family: IpFamily; readonly isWanted: (address: string) => boolean },
  signal: AbortSignal,
): Promise<{ readonly there: ReadonlySet<string>; readonly unneeded: readonly string[] }> {
  const flag = flagOf({ family });
  const there = (await ourRoutes(tools, flag, signal)).map(({ dst }) => dst).filter((dst) => !dst.includes("/"));
  const isHeld = there.some(isWanted) ? holderOf(family, await routes(tools, flag, ["table", "main"], signal)) : () => false;
  return { there: new Set(there), unneeded: there.filter((dst) => !isWanted(dst) || isHeld(dst)) };
}

/** Of what is to be added, what the kernel has no way to is. */
async function applyChange(
  { tools, addresses }: AddressRoutesDeps,
  { family, added, removed }: Done & { readonly family: IpFamily },
  signal: AbortSignal,
): Promise<Done> {
  const flag = flagOf({ family });
  await removeRoutes(tools, flag, removed, signal);
  const source = sourceOf(addresses(), { family });
  if (source === undefined) return { added: [], removed }; // no address of the family: there is nowhere to go
  const reached = new Set((await waysTo(tools, flag, added, signal)).map(({ dst }) => dst));
  const destinations = added.filter((address) => !reached.has(address));
  await addRoutes(tools, { flag, destinations, source }, signal);
  return { added: destinations, removed };
}

/** One that fails leaves the other alone: it is told when both are over. */
async function eachFamily(families: Iterable<IpFamily>, work: (family: IpFamily) => Promise<Done>): Promise<Done> {
  const working = [...families].map(work);
  await Promise.allSettled(working);
  const done = await Promise.all(working);
  return { added: done.flatMap(({ added }) => added), removed: done.flatMap(({ removed }) => removed) };
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
