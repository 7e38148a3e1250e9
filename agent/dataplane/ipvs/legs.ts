import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import type { Backend, Frontend, HostTable } from "#agent/compile/table.ts";
import { cidrWord, ipWord, portWord, protocolWord, secondsWord } from "../iptables/names.ts";
import { MARKS, type SetName } from "./names.ts";
import { realWord, serverWord, type Server } from "./servers.ts";
import { flagsOf, hashFor, schedulerFor, weightsFor } from "./schedulers.ts";

/**
 * What one frontend is in the kernel: virtual servers and entries of sets. A virtual server has one set of real servers, so a frontend with two
 * choices (`outside`) has two legs, told apart by a mark that depends on the source. ClusterIPs have a virtual server with their address and port,
 * all others one with a mark: it also stands for every address of the host (node ports), and without an entry that gives the mark nobody gets
 * there, whatever else is missing (source ranges). Pure.
 */

export interface Choice {
  readonly backends: readonly Backend[];
  readonly whenEmpty: "reject" | "drop";
}

export interface Entry {
  readonly set: SetName;
  readonly text: string;
  readonly mark?: number;
}

export interface Wanted {
  readonly servers: readonly Server[];
  readonly entries: readonly Entry[];
}

export interface Means {
  readonly host: HostTable;
  /** The mark of a leg's virtual server; the same for the same words. */
  readonly markOf: (leg: string, frontend: Frontend) => number;
  readonly hasScheduler: (name: string) => boolean;
}

export function wantedOf(frontend: Frontend, means: Means): Wanted {
  return frontend.scope === "nodePort" ? nodePortOf(frontend, means) : placeOf(frontend, means);
}

function placeOf(frontend: Frontend, means: Means): Wanted {
  const legs = legsOf(frontend, means);
  return {
    servers: [legs.all, legs.inside].flatMap((leg) => leg?.server ?? []),
    entries: [...placeEntries(frontend, means, legs), ...addressEntries(frontend)],
  };
}

/**
 * With affinity, a virtual server at each address of the host that the table knows, and for all others (of a bridge, or that have just come) one with a
 * mark. Of entries the one with the longest prefix counts: an address alone before the others.
 */
function nodePortOf(frontend: Frontend, means: Means): Wanted {
  const addresses = ownAddresses(frontend, means.host);
  const own = addresses.map((address) => legOf({ ...frontend, address }, { name: "", choice: frontend }, means));
  const nets = nodeNets(means.host, frontend).filter((net) => !addresses.includes(net));
  const { all, inside } = nets.length > 0 ? legsOf(frontend, means) : {};
  const at = (set: "NODE" | "NODE-IN", net: string, leg: Leg | undefined): Entry[] =>
    leg ? [{ set, text: `${net},${placeWord(frontend)}`, mark: leg.mark }] : [];
  return {
    servers: [all, inside, ...own].flatMap((leg) => leg?.server ?? []),
    entries: [
      ...nets.flatMap((net) => [...at("NODE", net, all), ...at("NODE-IN", net, inside)]),
      ...addresses.flatMap((address, i) => at("NODE", address, own[i])),
    ],
  };
}

/** `10.96.0.10,tcp:80` or, for node ports, `tcp:30080`: what marks are remembered by. */
export function legWord(place: string, name: "" | "inside"): string {
  return name === "" ? place : `${place} ${name}`;
}

interface Leg {
  readonly mark: number;
  readonly server: Server | undefined;
}
interface Legs {
  readonly all: Leg;
  readonly inside: Leg | undefined;
}

function legsOf(frontend: Frontend, means: Means): Legs {
  const { outside } = frontend;
  return {
    all: legOf(frontend, { name: "", choice: outside ?? frontend }, means),
    inside: outside && legOf(frontend, { name: "inside", choice: frontend }, means),
  };
}

function legOf(frontend: Frontend, { name, choice }: { name: "" | "inside"; choice: Choice }, means: Means): Leg {
  const { scope, scheduler: asked, affinitySeconds } = frontend;
  const reals = realsOf(frontend, choice);
  const isOpen = choice.backends.length > 0;
  const key = reals.size === 0 ? "" : isPlain(frontend) ? serverWord(frontend) : means.markOf(legWord(placeWord(frontend), name), frontend);
  const isHashed = hasHashedAffinity(frontend);
  const seconds = affinitySeconds === undefined ? 0 : Number(secondsWord(affinitySeconds));
  const scheduler = schedulerFor(isHashed ? hashFor(asked, means.hasScheduler) : asked, choice, means.hasScheduler);
  const server: Server | undefined =
    key === ""
      ? undefined
      : {
          key,
          scheduler,
          flags: flagsOf(scheduler, { isNamed: isPlain(frontend) && (scope === "nodePort" || scope === "external") }),
          persistence: isHashed ? 0 : seconds,
          reals: weightsFor(scheduler, reals),
          address: scope === "loadBalancer" && !frontend.sourceRanges ? ipWord(frontend.address) : undefined,
        };
  const open = typeof key === "number" ? key : MARKS.plain;
  return { server, mark: isOpen ? open : choice.whenEmpty === "drop" ? MARKS.drop : MARKS.refuse };
}

/**
 * Found by its address and port; every other one by a mark. For the sake of affinity, which has a timeout only there, that is also what has one address
 * and gives all of its clients the same choice.
 */
function isPlain({ scope, address, outside, sourceRanges, affinitySeconds }: Frontend): boolean {
  return (scope === "cluster" || (affinitySeconds !== undefined && address !== "")) && !outside && !sourceRanges;
}

/**
 * With persistence, the kernel (ip_vs_sched_persist) takes the endpoint's port only where the packet's is the virtual server's own, and one with a mark
 * has none: the client's port would stay. There, affinity is a hash of the client's address.
 */
export function hasHashedAffinity(frontend: Frontend): boolean {
  return frontend.affinitySeconds !== undefined && !isPlain(frontend);
}

/** Endpoints with their weights; those that only keep the flows they have, with none. */
function realsOf({ protocol, draining }: Frontend, { backends }: Choice): Map<string, number> {
  const reals = new Map(backends.map((backend) => [realWord(backend), weightOf(backend)]));
  if (protocol === "UDP") for (const one of draining) if (!reals.has(realWord(one))) reals.set(realWord(one), 0);
  return reals;
}

/** What the kernel takes is 0 to 65,535, and 0 has a meaning of its own. */
function weightOf({ weight }: Backend): number {
  return Math.min(Math.max(Math.round(weight), 1), 65_535);
}

export function placeWord({ scope, address, protocol, port }: Frontend): string {
  const portPart = `${protocolWord(protocol)}:${portWord(port)}`;
  return scope === "nodePort" ? portPart : `${ipWord(address)},${portPart}`;
}

/** The agent itself listens there; a firewall of the host that drops what comes in lets it in by this. */
export function healthEntries(port: number, { host, family }: Pick<Means, "host"> & Pick<Frontend, "family">): readonly Entry[] {
  return nodeNets(host, { family }).map((net) => ({ set: "HEALTH", text: `${net},tcp:${portWord(port)}` }));
}

/** The host's addresses but loopback (a rule sees to that), or those that the configuration names. Sets of prefixes know no /0. */
function nodeNets(host: HostTable, of: Pick<Frontend, "family">): readonly string[] {
  const named = ofFamily(host.nodePortCidrs, of);
  return (named.length > 0 ? named : [everything(of)]).flatMap(netWords);
}

/** At which a node port has virtual servers of its own: where affinity is all that matters about a client. */
function ownAddresses({ outside, affinitySeconds, family }: Frontend, host: HostTable): readonly string[] {
  if (outside || affinitySeconds === undefined) return [];
  const nets = nodeNets(host, { family });
  const own = host.nodeIps.map(ipWord).filter((ip) => parseIp(ip)?.family === family);
  return own.filter((ip) => nets.some((net) => net === ip || isIn(net, ip)));
}

function placeEntries(frontend: Frontend, { host }: Means, { all, inside }: Legs): Entry[] {
  const text = placeWord(frontend);
  const external: Entry[] = frontend.scope === "external" ? [{ set: "EXTERNAL", text }] : [];
  const ranges = rangesOf(frontend, host);
  if (!ranges)
    return [
      { set: "PLACES", text, mark: all.mark },
      ...(inside ? [{ set: "PLACES-IN" as const, text, mark: inside.mark }] : []),
      ...external,
    ];
  const ranged = (set: "RANGED" | "RANGED-IN", mark: number): Entry[] => ranges.map((range) => ({ set, text: `${text},${range}`, mark }));
  return [
    { set: "PLACES", text, mark: MARKS.drop },
    ...ranged("RANGED", all.mark),
    ...(inside ? ranged("RANGED-IN", inside.mark) : []),
    ...external,
  ];
}

/** Where a range holds one of the host's own addresses, the address of the service itself is allowed too: it may be what the host sends from. */
function rangesOf({ sourceRanges, address }: Frontend, { nodeIps }: HostTable): readonly string[] | undefined {
  if (!sourceRanges) return undefined;
  const cidrs = sourceRanges.map(cidrWord);
  const isOfHost = cidrs.some((text) => nodeIps.some((ip) => isIn(text, ip)));
  const own = isOfHost ? [ipWord(address)] : [];
  return [...new Set([...cidrs, ...own].flatMap(netWords))];
}

/** An address with source ranges is not this host's own but by a mark: whatever is flushed, nobody gets to what listens there (docs/adr/0153). */
function addressEntries({ scope, address, backends, outside, sourceRanges }: Frontend): Entry[] {
  if (scope !== "cluster" && scope !== "loadBalancer") return [];
  const ip = ipWord(address);
  const isAnswered = backends.length > 0 || (outside?.backends.length ?? 0) > 0;
  return [
    ...(scope === "loadBalancer" ? [{ set: sourceRanges ? ("GUARDED" as const) : ("VIPS" as const), text: ip }] : []),
    ...(isAnswered ? [{ set: "PING" as const, text: ip }] : []),
  ];
}

function isIn(prefix: string, address: string): boolean {
  const cidr = parseCidr(prefix);
  const ip = parseIp(address);
  return cidr !== undefined && ip !== undefined && contains(cidr, ip);
}

export function ofFamily(cidrs: readonly string[], { family }: Pick<Frontend, "family">): readonly string[] {
  return cidrs.map(cidrWord).filter((text) => parseCidr(text)?.family === family);
}

function everything({ family }: Pick<Frontend, "family">): string {
  return family === "IPv4" ? "0.0.0.0/0" : "::/0";
}

/** As ipset prints them: an address alone has no length, and there is no /0. */
function netWords(cidr: string): readonly string[] {
  if (cidr === "0.0.0.0/0") return ["0.0.0.0/1", "128.0.0.0/1"];
  if (cidr === "::/0") return ["::/1", "8000::/1"];
  return [cidr.replace(cidr.includes(":") ? /\/128$/ : /\/32$/, "")];
}
