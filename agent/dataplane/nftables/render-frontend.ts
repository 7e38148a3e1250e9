import type { Backend, Frontend } from "#agent/compile/table.ts";
import { commentWord, portWord, protocolWord } from "../iptables/names.ts";
import { fnv1a } from "./fnv1a.ts";
import { chainOf, slotMap, type NeededObject } from "./render-objects.ts";
import { SCRATCH, within } from "./render.ts";
import { groupsOf, type Group } from "./slots.ts";
import { spacesOf, type Side, type Space } from "./space.ts";
import { addressWord, type NftWords } from "./words.ts";

/** What one frontend puts into the sets and maps. Pure; a change of a frontend is the difference of two of these. */

/** In a set or, with a value, in a map. */
export interface Element {
  readonly map: string;
  readonly key: string;
  readonly value: string | undefined;
  /** For people. */
  readonly comment?: string;
}

export interface FrontendText {
  /** Nobody else has an element of these keys. */
  readonly own: readonly Element[];
  /** Others may want the same; in `guarded` with another value. */
  readonly shared: readonly Element[];
  readonly needs: readonly NeededObject[];
  /** How many slots of each kind are used. */
  readonly slots: readonly { readonly space: "vip" | "node"; readonly side: Side; readonly count: number }[];
}

/** What a frontend must know of its host. */
export interface HostView {
  readonly words: NftWords;
  /** Canonical and disjoint, of the family. */
  readonly localCidrs: readonly string[];
  readonly nodeIps: readonly string[];
  readonly isInServiceCidr: (address: string) => boolean;
  /** The name of the chain for this list of ranges, canonical. */
  readonly fromChain: (
    ranges: readonly string[],
    options: { readonly loops: boolean },
  ) => { readonly name: string; readonly ranges: readonly string[] };
}

interface Drawing {
  readonly own: Element[];
  readonly shared: Element[];
  readonly needs: NeededObject[];
  readonly slots: { space: "vip" | "node"; side: Side; count: number }[];
}

interface At {
  readonly view: HostView;
  readonly frontend: Frontend;
  readonly space: Space;
  readonly kind: "vip" | "node";
  /** As a key. */
  readonly place: string;
  readonly into: Drawing;
}

export function frontendText(view: HostView, frontend: Frontend): FrontendText {
  const kind = frontend.scope === "nodePort" ? "node" : "vip";
  const port = `${protocolWord(frontend.protocol)} . ${portWord(frontend.port)}`;
  const at: At = {
    view,
    frontend,
    space: spacesOf(view.words)[kind],
    kind,
    place: kind === "node" ? port : `${addressWord(frontend.address)} . ${port}`,
    into: { own: [], shared: [], needs: [], slots: [] },
  };
  enter(at);
  refuse(at);
  if (kind === "node") claimPort(at);
  else claimAddress(at);
  return at.into;
}

/** Where a packet for the place goes on. */
function enter(at: At): void {
  const { frontend, space, place, into } = at;
  const own = (map: string, value: string, comment?: string): void => {
    into.own.push({ map: `${space.prefix}${map}`, key: place, value, ...(comment !== undefined && { comment }) });
  };
  const all = choice(at, "all", frontend.backends);
  const outside = frontend.outside && choice(at, "outside", frontend.outside.backends);
  if (frontend.outside) {
    if (all !== undefined) own("inside_services", all);
    if (outside !== undefined) own("outside_services", outside);
  }
  const isSplit = frontend.outside !== undefined && (all ?? outside) !== undefined;
  const verdict = isSplit ? `goto ${space.prefix}split` : all;
  const comment = commentWord(frontend.id);
  if (frontend.sourceRanges === undefined) {
    if (verdict !== undefined) own("services", verdict, comment);
    return;
  }
  own("services", "goto ranged", comment);
  own("ranges", `goto ${restrict(at, frontend.sourceRanges)}`);
  if (verdict !== undefined) own("admitted", verdict);
}

function restrict({ view, frontend, into }: At, sourceRanges: readonly string[]): string {
  const loops = view.nodeIps.some(within(sourceRanges));
  if (loops)
    into.shared.push({ map: "loops", key: `${addressWord(frontend.address)} . ${addressWord(frontend.address)}`, value: undefined });
  const { name, ranges } = view.fromChain(sourceRanges, { loops });
  into.needs.push({ kind: "from", name, ranges, loops });
  return name;
}

/** The verdict that draws one of them; undefined where there is none. */
function choice(at: At, side: Side, backends: readonly Backend[]): string | undefined {
  if (backends.length === 0) return undefined;
  const { frontend, space, kind, place, into } = at;
  const groups = groupsOf(backends);
  const slots = groups.flatMap((group) => group.slots);
  const { affinitySeconds: seconds } = frontend;
  if (seconds !== undefined) {
    stick(at, side, slots);
    into.needs.push({ kind: "recall", space: kind, seconds });
    return draw(at, groups, (range) => ({ kind: "stick", space: kind, side, seconds, ...range }));
  }
  slots.forEach((backend, i) => {
    into.own.push({ map: slotMap(space, side, i), key: place, value: endpointWord(backend) });
  });
  into.slots.push({ space: kind, side, count: slots.length });
  return draw(at, groups, (range) => ({ kind: "pick", space: kind, side, ...range }));
}

type OfSlots = Extract<NeededObject, { readonly slots: number }>;

/** The verdict that leads to a chain for each group, which draws one of its slots. */
function draw({ kind, into }: At, groups: readonly Group[], chainFor: (range: Pick<OfSlots, "first" | "slots">) => OfSlots): string {
  let first = 0;
  const of = groups.map(({ weight, slots }) => {
    const from = chainFor({ first, slots: slots.length });
    first += slots.length;
    return { weight, from };
  });
  into.needs.push(...of.map(({ from }) => from));
  if (of.length === 1 && of[0]) return `goto ${chainOf(of[0].from)}`;
  const all: NeededObject = { kind: "draw", space: kind, of };
  into.needs.push(all);
  return `goto ${chainOf(all)}`;
}

function stick({ space, place, into }: At, side: Side, slots: readonly Backend[]): void {
  const ids = endpointIds(slots, side);
  for (const [endpoint, id] of ids) into.own.push({ map: `${space.prefix}sticky_endpoints`, key: `${place} . ${id}`, value: endpoint });
  slots.forEach((backend, i) => {
    into.own.push({
      map: `${space.prefix}sticky_slots`,
      key: `${place} . ${space.firstSlot[side] + i}`,
      value: ids.get(endpointWord(backend)) ?? "",
    });
  });
}

/**
 * A number for each endpoint of a frontend, the same in every run of the agent, because clients are remembered by it: 27 bits of a hash, and the
 * next free number where two are alike. The four highest bits are those of the scratch, the next is the side.
 */
function endpointIds(slots: readonly Backend[], side: Side): ReadonlyMap<string, string> {
  const ids = new Map<string, string>();
  const taken = new Set<number>();
  for (const endpoint of new Set(slots.map(endpointWord))) {
    let hash = fnv1a(endpoint) & 0x07ff_ffff;
    while (taken.has(hash)) hash = (hash + 1) & 0x07ff_ffff;
    taken.add(hash);
    ids.set(endpoint, `0x${(SCRATCH + (side === "outside" ? 0x0800_0000 : 0) + hash).toString(16)}`);
  }
  return ids;
}

/** What a packet gets that nobody translated. Refusal is what a virtual address does by itself: only what differs is written. */
function refuse(at: At): void {
  const { frontend, kind, space, place, into } = at;
  const verdict = refusal(frontend);
  if (verdict === undefined) return;
  const chain = verdict === "drop" ? "drop" : `goto ${verdict}`;
  if (kind === "vip" && verdict === "refuse" && frontend.scope !== "external") return;
  into.own.push({ map: `${space.prefix}refusals`, key: place, value: chain, comment: commentWord(frontend.id) });
  if (frontend.scope === "external")
    into.shared.push({ map: "guarded", key: addressWord(frontend.address), value: "goto refuse_external" });
}

type Refusal = "refuse" | "drop" | "drop_outside" | "drop_inside";

function refusal({ backends, whenEmpty, outside }: Frontend): Refusal | undefined {
  const how = (policy: "reject" | "drop"): Refusal => (policy === "drop" ? "drop" : "refuse");
  const inside = backends.length === 0 ? how(whenEmpty) : undefined;
  if (!outside) return inside;
  const outer = outside.backends.length === 0 ? how(outside.whenEmpty) : undefined;
  if (inside === undefined || outer === undefined || inside === outer) return inside ?? outer;
  return outer === "drop" ? "drop_outside" : "drop_inside";
}

function claimPort({ place, frontend, into }: At): void {
  into.own.push({ map: "node_ports", key: place, value: undefined });
  for (const endpoint of new Set(everyBackend(frontend).map(endpointWord)))
    into.own.push({ map: "node_endpoints", key: `${place} . ${endpoint}`, value: undefined });
}

function claimAddress({ view, frontend, place, into }: At): void {
  const address = addressWord(frontend.address);
  if (frontend.scope === "external") {
    into.own.push({ map: "external", key: place, value: undefined });
    return;
  }
  into.shared.push({ map: "virtual", key: address, value: undefined });
  if (everyBackend(frontend).length > 0) into.shared.push({ map: "answering", key: address, value: undefined });
  if (!view.isInServiceCidr(address)) into.shared.push({ map: "guarded", key: address, value: "goto refuse_virtual" });
}

function everyBackend({ backends, outside }: Frontend): readonly Backend[] {
  return outside ? [...backends, ...outside.backends] : backends;
}

function endpointWord({ address, port }: Backend): string {
  return `${addressWord(address)} . ${portWord(port)}`;
}
