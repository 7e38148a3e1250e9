import { createHash } from "node:crypto";
import type { ForwardingTable, HostTable } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import { frontendsOf, UseCount } from "../frontends.ts";
import { ElementSums, type TableSum } from "./listing.ts";
import { frontendText, type Element, type FrontendText, type HostView } from "./render-frontend.ts";
import { chainOf, objectText, slotText, type ChainText, type NeededObject, type SlotText } from "./render-objects.ts";
import { chainsOf, cidrsOf, layoutOf, mapsOf, setsOf, within, type HostFacts } from "./render.ts";
import { SharedElements } from "./shared-elements.ts";
import { spacesOf, type Side } from "./space.ts";
import { addressWord, wordsOf, type NftWords } from "./words.ts";

/** What must be known of the kernel's table to write the next change. Nothing in it grows with the services but three counts an address. */
export interface Held {
  readonly words: NftWords;
  readonly host: HostFacts;
  readonly view: HostView;
  readonly shared: SharedElements;
  /** Chains that frontends need, by name. */
  readonly chains: UseCount;
  readonly objects: Map<string, NeededObject>;
  /** `vip all` → how many slots have their map. Grows only; the next sync takes the rest away. */
  readonly slots: Map<string, number>;
  /** Chains that nobody needs any more and that are still there. */
  readonly idle: Set<string>;
  readonly sums: ElementSums;
  /** What the last write put into the set `writes`. */
  mark: string;
}

/** The state that follows from a table, and the elements that are not in it yet. */
export function heldOf(
  { host, services }: ForwardingTable,
  family: IpFamily,
  { liberal }: Pick<HostFacts, "liberal">,
): { held: Held; own: Element[] } {
  const words = wordsOf(family);
  const held: Held = {
    words,
    host: { serviceCidrs: host.serviceCidrs, masqueradeAll: host.masqueradeAll, nodePortCidrs: host.nodePortCidrs, liberal },
    view: viewOf(words, host),
    shared: new SharedElements(),
    chains: new UseCount(),
    objects: new Map(),
    slots: new Map(),
    idle: new Set(),
    sums: new ElementSums(),
    mark: "",
  };
  const own: Element[] = [];
  for (const frontend of frontendsOf(services.values(), family)) {
    const text = frontendText(held.view, frontend);
    use(held, text);
    for (const element of text.own) own.push(element);
  }
  return { held, own };
}

export function use(held: Held, { shared, needs, slots }: FrontendText): void {
  for (const element of shared) held.shared.add(element);
  for (const object of needs) {
    const name = chainOf(object);
    held.chains.add(name);
    if (!held.objects.has(name)) held.objects.set(name, object);
  }
  for (const { space, side, count } of slots) {
    const key = `${space} ${side}`;
    if ((held.slots.get(key) ?? 0) < count) held.slots.set(key, count);
  }
}

export function release(held: Held, { shared, needs }: FrontendText): void {
  for (const element of shared) held.shared.remove(element);
  for (const object of needs) held.chains.remove(chainOf(object));
}

/** From the one number of slots to the other. */
export function slotsSince({ words, slots }: Held, before: ReadonlyMap<string, number>): readonly SlotText[] {
  return [...slots].flatMap(([key, count]) => {
    const [space, side] = key.split(" ") as ["vip" | "node", Side];
    const from = before.get(key) ?? 0;
    return Array.from({ length: Math.max(0, count - from) }, (_, i) => slotText(words, spacesOf(words)[space], side, from + i));
  });
}

export function chainTexts({ words }: Held, objects: Iterable<NeededObject>): readonly ChainText[] {
  return Array.from(objects, (object) => objectText(words, object));
}

/** What a listing of the table must show. */
export function wantedOf(held: Held): TableSum {
  const { words, sums } = held;
  const slots = slotsSince(held, new Map());
  const texts = [...slots, ...chainTexts(held, held.objects.values())];
  const names = [...setsOf(words).keys(), ...mapsOf(words).keys(), ...slots.map(({ map }) => map)];
  return {
    elements: new Map(names.filter((name) => name !== "writes").map((name) => [name, sums.sums.get(name) ?? { count: 0, sum: 0 }])),
    rules: new Map([
      [layoutOf(words, digest), 0],
      ...[...chainsOf(words, held.host)].map(([chain, { rules }]) => [chain, rules.length] as const),
      ...texts.map(({ chain, rules }) => [chain, rules.length] as const),
    ]),
  };
}

export function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

function viewOf(words: NftWords, { serviceCidrs, localCidrs, nodeIps }: HostTable): HostView {
  return {
    words,
    localCidrs: cidrsOf(words, localCidrs),
    isInServiceCidr: within(cidrsOf(words, serviceCidrs)),
    nodeIps: nodeIps.map(addressWord).filter((ip) => ip.includes(":") === (words.family === "IPv6")),
    fromChain: (texts, { loops }) => {
      const ranges = cidrsOf(words, texts);
      return { ranges, name: `from_${digest(ranges.join())}${loops ? "_loops" : ""}` };
    },
  };
}
