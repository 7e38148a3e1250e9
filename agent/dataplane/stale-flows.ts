import type { Frontend } from "#agent/compile/table.ts";
import { contains, formatIp, parseCidr, parseIp } from "#proto/ip.ts";
import { placeOf, type FrontendChange } from "./frontends.ts";

/** Which UDP flows that the kernel remembers lead nowhere after a change. Pure. */

/** A place that clients send to, and the endpoints that may go on answering there. */
export interface Watched {
  /** "" = a node port: every address of the host. With ANY_PORT a prefix, of which it is all that is no frontend. */
  readonly address: string;
  readonly port: number;
  /** `address port` */
  readonly mayAnswer: ReadonlySet<string>;
  /** The frontend is gone: what was not translated there is none of ours. */
  readonly isGone: boolean;
}

export const ANY_PORT = 0;

/** Flows of one kind: all to one place that one endpoint answers. */
export interface StaleFlow {
  readonly address: string;
  readonly port: number;
  /** undefined = whoever answers: no flow to that place may stay. */
  readonly reply: { readonly address: string; readonly port: number } | undefined;
}

export interface Surroundings {
  /** Addresses of the host, canonical: only there is a node port. */
  readonly hostIps: ReadonlySet<string>;
  /** Is there a frontend of its own at this place? It comes before the node port of the same number, and before a range. */
  readonly isFrontend: (place: string) => boolean;
}

/** Only where an endpoint went, or where the first one came for somebody: from here, or from outside. */
export function watchedOf({ previous, next }: FrontendChange): Watched[] {
  const frontend = next ?? previous;
  if (!frontend) return [];
  const before = targetsOf(previous);
  const after = targetsOf(next);
  const someWent = [...before].some((target) => !after.has(target));
  const firstCame =
    ((previous?.backends.length ?? 0) === 0 && (next?.backends.length ?? 0) > 0) ||
    ((previous?.outside?.backends.length ?? 0) === 0 && (next?.outside?.backends.length ?? 0) > 0);
  if (!someWent && !firstCame && next) return [];
  return [{ address: frontend.address, port: frontend.port, mayAnswer: after, isGone: !next }];
}

/** For when nobody knows what was before. */
export function watchedNow(frontend: Frontend): Watched {
  return { address: frontend.address, port: frontend.port, mayAnswer: targetsOf(frontend), isGone: false };
}

/** A range of virtual IPs: what is translated there, and by no frontend of now, was by one that is gone. */
export function watchedRange(cidr: string): Watched {
  return { address: cidr, port: ANY_PORT, mayAnswer: new Set(), isGone: true };
}

/** Policies and hints say who gets a new flow; one that an endpoint has, it may keep for as long as it serves. */
function targetsOf(frontend: Frontend | undefined): Set<string> {
  const { backends = [], outside, draining = [] } = frontend ?? {};
  return new Set([...backends, ...(outside?.backends ?? []), ...draining].map(targetOf));
}

interface Target {
  readonly address: string;
  readonly port: number;
}

function targetOf({ address, port }: Target): string {
  return `${address} ${port}`;
}

/** Which flows of `listing` (conntrack -L) go to a watched place and are answered by nobody who may. Each kind once. */
export function staleFlows(listing: string, watched: readonly Watched[], { hostIps, isFrontend }: Surroundings): readonly StaleFlow[] {
  const byTarget = joined(watched);
  const inRange = rangesOf(watched);
  const elsewhere = ({ address, port }: Target): Watched | undefined =>
    (hostIps.has(address) ? byTarget.get(targetOf({ address: "", port })) : undefined) ?? inRange?.(address);
  const ports = new Set(watched.map(({ port }) => String(port)));
  const stale = new Map<string, StaleFlow>();
  /** Places with a flow that stays. */
  const alive = new Set<string>();
  for (const line of listing.split("\n")) {
    const [question, answer] = [...line.matchAll(/src=\S+ dst=\S+ sport=\d+ dport=\d+/g)].map(([tuple]) => tuple);
    const asked = question === undefined ? undefined : fieldsOf(question);
    if (!asked || answer === undefined || !(inRange || ports.has(asked.dport))) continue;
    const to = { address: canonical(asked.dst), port: Number(asked.dport) };
    const place = byTarget.get(targetOf(to)) ?? (isFrontend(placeOf({ ...to, protocol: "UDP" })) ? undefined : elsewhere(to));
    if (!place) continue;
    const answered = fieldsOf(answer);
    const reply = { address: canonical(answered.src), port: Number(answered.sport) };
    const isTranslated = targetOf(reply) !== targetOf(to);
    if (place.mayAnswer.has(targetOf(reply)) || (place.isGone && !isTranslated)) alive.add(targetOf(to));
    else stale.set(`${targetOf(to)} ${targetOf(reply)}`, { ...to, reply });
  }
  return together([...stale.values()], alive);
}

/** undefined = none are watched: most flows need no second look. */
function rangesOf(watched: readonly Watched[]): ((address: string) => Watched | undefined) | undefined {
  const ranges = watched.flatMap((range) => {
    const cidr = range.port === ANY_PORT ? parseCidr(range.address) : undefined;
    return cidr ? [{ range, cidr }] : [];
  });
  if (ranges.length === 0) return undefined;
  return (address) => {
    const ip = parseIp(address);
    return ip && ranges.find(({ cidr }) => contains(cidr, ip))?.range;
  };
}

/** As few kinds as can be: each is looked for by itself. */
function together(stale: readonly StaleFlow[], alive: ReadonlySet<string>): readonly StaleFlow[] {
  return [...Map.groupBy(stale, targetOf)].flatMap(([place, [first, ...others]]) => {
    if (!first) return [];
    return others.length === 0 || alive.has(place) ? [first, ...others] : [{ ...first, reply: undefined }];
  });
}

/** Two of the same place: it went from one service to another at once. */
function joined(watched: readonly Watched[]): ReadonlyMap<string, Watched> {
  const byTarget = new Map<string, Watched>();
  for (const one of watched) {
    const other = byTarget.get(targetOf(one));
    const mayAnswer = other ? new Set([...other.mayAnswer, ...one.mayAnswer]) : one.mayAnswer;
    byTarget.set(targetOf(one), { ...one, mayAnswer, isGone: one.isGone && (other?.isGone ?? true) });
  }
  return byTarget;
}

function fieldsOf(tuple: string): { readonly src: string; readonly dst: string; readonly sport: string; readonly dport: string } {
  const [, src = "", dst = "", sport = "", dport = ""] = /src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/.exec(tuple) ?? [];
  return { src, dst, sport, dport };
}

function canonical(text: string): string {
  const ip = text.includes(":") ? parseIp(text) : undefined;
  return ip ? formatIp(ip) : text;
}
