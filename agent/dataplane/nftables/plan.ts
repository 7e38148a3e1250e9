import { createHash } from "node:crypto";
import type { ForwardingTable, HostTable } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import { frontendsOf, UseCount, type FrontendChange } from "../frontends.ts";
import { ipWord } from "../iptables/names.ts";
import { frontendText, type Element, type FrontendText, type HostView } from "./render-frontend.ts";
import { chainOf, objectText, slotText, type ChainText, type NeededObject, type SlotText } from "./render-objects.ts";
import { chainsOf, cidrsOf, mapsOf, memoriesOf, setsOf, tableWord, type HostFacts } from "./render.ts";
import { SharedElements } from "./shared-elements.ts";
import { spacesOf, type Side } from "./space.ts";
import { wordsOf, type NftWords } from "./words.ts";

/** What is to be written, as text for one `nft -f`; and what must be known of the kernel for the next change. Reads nothing. */

export interface Held {
  readonly words: NftWords;
  readonly host: HostFacts;
  readonly view: HostView;
  readonly shared: SharedElements;
  /** Chains that frontends need, by name. */
  readonly chains: UseCount;
  readonly texts: Map<string, NeededObject>;
  /** `vip all` → how many slots have their map. Grows only; the next sync takes the rest away. */
  readonly slots: Map<string, number>;
  /** Chains that nobody needs any more and that are still there. */
  readonly idle: Set<string>;
}

/** Names what each write puts into the set `writes`, so that ours are told from others'. */
export interface WriteMark {
  readonly epoch: number;
  readonly number: number;
}

export interface PlanOptions {
  readonly mark: WriteMark;
  readonly liberal: boolean;
}

/** What of ours was found in the kernel. */
export interface Existing {
  /** Made by this layout: its memories can stay. */
  readonly isCurrent: boolean;
  readonly chains: readonly string[];
}

export function heldOf(
  { host, services }: ForwardingTable,
  family: IpFamily,
  { liberal }: Pick<PlanOptions, "liberal">,
): { held: Held; own: Element[] } {
  const words = wordsOf(family);
  const held: Held = {
    words,
    host: { serviceCidrs: host.serviceCidrs, masqueradeAll: host.masqueradeAll, nodePortCidrs: host.nodePortCidrs, liberal },
    view: viewOf(words, host),
    shared: new SharedElements(),
    chains: new UseCount(),
    texts: new Map(),
    slots: new Map(),
    idle: new Set(),
  };
  const own: Element[] = [];
  for (const frontend of frontendsOf(services.values(), family)) {
    const text = frontendText(held.view, frontend);
    use(held, text);
    for (const element of text.own) own.push(element);
  }
  return { held, own };
}

/**
 * Everything, over whatever of ours is there, in one transaction. Memories of clients stay where this layout made them. Chains that are not needed
 * are emptied; they can go later (kernels before 6.2 count the references of elements that the same transaction removes).
 */
export function planSync(
  { held, own }: { readonly held: Held; readonly own: readonly Element[] },
  existing: Existing,
  { mark }: Pick<PlanOptions, "mark">,
): string {
  const { words } = held;
  const table = tableWord(words);
  const lines = [`add table ${table}`];
  if (!existing.isCurrent) lines.push(`delete table ${table}`, `add table ${table}`);
  declareAll(lines, held);
  const objects = [...held.texts.values()].flatMap((object) => objectText(words, object));
  const slots = [...held.slots].flatMap(([side, count]) => slotTexts(words, side, { from: 0, to: count }));
  const fixed = chainsOf(words, held.host);
  for (const { map, declaration } of slots) lines.push(`add map ${table} ${map} { ${declaration} }`, `flush map ${table} ${map}`);
  for (const [chain, { hook }] of fixed) lines.push(`add chain ${table} ${chain}${hook === undefined ? "" : ` { ${hook} }`}`);
  const written = uniqueChains([...slots, ...objects]);
  for (const { chain } of written) lines.push(`add chain ${table} ${chain}`);
  const known = new Set([...fixed.keys(), ...written.map(({ chain }) => chain)]);
  const left = existing.isCurrent ? existing.chains.filter((chain) => !known.has(chain) && chain !== layoutChain(words)) : [];
  for (const chain of left) held.idle.add(chain);
  lines.push(
    ...left.flatMap((chain) => [`flush chain ${table} ${chain}`, ...staleSlotMap(chain).map((map) => `flush map ${table} ${map}`)]),
  );
  for (const [chain, { rules }] of fixed) rewrite(lines, table, { chain, rules });
  for (const text of written) rewrite(lines, table, text);
  addElements(lines, table, [...hostElements(words, held), ...slotElements(slots), ...own, ...held.shared.take().added, markElement(mark)]);
  held.chains.take();
  return `${lines.join("\n")}\n`;
}

/** Only what the changes touch; "" when nothing in the kernel changes. Moves `held` to the state after it. */
export function planUpdate(held: Held, changes: readonly FrontendChange[], mark: WriteMark): string {
  const { words } = held;
  const table = tableWord(words);
  const before: Element[] = [];
  const after: Element[] = [];
  const slotsBefore = new Map(held.slots);
  for (const { previous } of changes) if (previous) before.push(...release(held, frontendText(held.view, previous)));
  for (const { next } of changes) {
    if (!next) continue;
    const text = frontendText(held.view, next);
    use(held, text);
    after.push(...text.own);
  }
  const { added, removed } = difference(before, after);
  const shared = held.shared.take();
  const gone = [...removed, ...shared.removed];
  const come = [...added, ...shared.added];
  const chains = held.chains.take();
  const slots = [...held.slots].flatMap(([side, count]) => slotTexts(words, side, { from: slotsBefore.get(side) ?? 0, to: count }));
  const newChains = chains.added.flatMap((name) => objectText(words, held.texts.get(name) as NeededObject));
  for (const name of chains.removed) {
    held.texts.delete(name);
    held.idle.add(name);
  }
  const lines: string[] = [];
  for (const { map, declaration } of slots) lines.push(`add map ${table} ${map} { ${declaration} }`);
  for (const text of [...slots, ...uniqueChains(newChains)]) {
    held.idle.delete(text.chain);
    lines.push(`add chain ${table} ${text.chain}`);
    rewrite(lines, table, text);
  }
  removeElements(lines, table, gone);
  addElements(lines, table, [...slotElements(slots), ...come]);
  if (lines.length === 0) return "";
  lines.push(`flush set ${table} writes`);
  addElements(lines, table, [markElement(mark)]);
  return `${lines.join("\n")}\n`;
}

/** Takes chains away that nobody has needed since an earlier transaction; "" when there are none. */
export function planTidy(held: Held, mark: WriteMark): string {
  const { words } = held;
  if (held.idle.size === 0) return "";
  const table = tableWord(words);
  const idle = [...held.idle];
  held.idle.clear();
  const lines = idle.map((chain) => `flush chain ${table} ${chain}`);
  lines.push(...idle.map((chain) => `delete chain ${table} ${chain}`));
  lines.push(...idle.flatMap(staleSlotMap).map((map) => `delete map ${table} ${map}`));
  lines.push(`flush set ${table} writes`);
  addElements(lines, table, [markElement(mark)]);
  return `${lines.join("\n")}\n`;
}

/** Its name says how everything of the table is declared: what another layout made is replaced whole. */
export function layoutChain(words: NftWords): string {
  const declared = JSON.stringify([[...setsOf(words)], [...mapsOf(words)], [...memoriesOf(words)], LAYOUT]);
  const hooks = [...chainsOf(words, ANY_HOST)].map(([chain, { hook }]) => [chain, hook]);
  return `layout_${createHash("sha256").update(declared).update(JSON.stringify(hooks)).digest("hex").slice(0, 12)}`;
}

/** To be raised when chains that are made as needed change their meaning. */
const LAYOUT = 1;
const ANY_HOST: HostFacts = { serviceCidrs: [], masqueradeAll: false, nodePortCidrs: [], liberal: false };

export function markElement({ epoch, number }: WriteMark): Element {
  return { map: "writes", key: `0x${epoch.toString(16)} . 0x${number.toString(16)}`, value: undefined };
}

function viewOf(words: NftWords, { serviceCidrs, localCidrs, nodeIps }: HostTable): HostView {
  return {
    words,
    serviceCidrs: cidrsOf(words, serviceCidrs),
    localCidrs: cidrsOf(words, localCidrs),
    nodeIps: nodeIps.map(ipWord).filter((ip) => ip.includes(":") === (words.family === "IPv6")),
    fromChain: (texts, { loops }) => {
      const ranges = cidrsOf(words, texts);
      const hash = createHash("sha256").update(ranges.join()).digest("hex").slice(0, 12);
      return { ranges, name: `from_${hash}${loops ? "_loops" : ""}` };
    },
  };
}

function use(held: Held, { shared, needs, slots }: FrontendText): void {
  for (const element of shared) held.shared.add(element);
  for (const object of needs) {
    const name = chainOf(object);
    held.chains.add(name);
    if (!held.texts.has(name)) held.texts.set(name, object);
  }
  for (const { space, side, count } of slots) {
    const key = `${space} ${side}`;
    if ((held.slots.get(key) ?? 0) < count) held.slots.set(key, count);
  }
}

function release(held: Held, { own, shared, needs }: FrontendText): readonly Element[] {
  for (const element of shared) held.shared.remove(element);
  for (const object of needs) held.chains.remove(chainOf(object));
  return own;
}

function difference(before: readonly Element[], after: readonly Element[]): { added: Element[]; removed: Element[] } {
  const keyOf = ({ map, key }: Element): string => `${map} ${key}`;
  const left = new Map(before.map((element) => [keyOf(element), element]));
  const added: Element[] = [];
  for (const element of after) {
    const was = left.get(keyOf(element));
    if (was && was.value === element.value && was.comment === element.comment) left.delete(keyOf(element));
    else added.push(element);
  }
  return { added, removed: [...left.values()] };
}

function slotTexts(words: NftWords, side: string, { from, to }: { readonly from: number; readonly to: number }): SlotText[] {
  const [space, which] = side.split(" ") as ["vip" | "node", Side];
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => slotText(words, spacesOf(words)[space], which, from + i));
}

function slotElements(slots: readonly SlotText[]): Element[] {
  return slots.map(({ index, chain }) => ({ map: "slots", key: String(index), value: `goto ${chain}` }));
}

/** The map that goes with the chain of a slot. */
function staleSlotMap(chain: string): string[] {
  return /^(node_)?(local_)?slot_\d+$/.test(chain) ? [chain.replace("slot_", "backends_")] : [];
}

function uniqueChains(texts: readonly ChainText[]): readonly ChainText[] {
  return [...new Map(texts.map((text) => [text.chain, text])).values()];
}

function hostElements(words: NftWords, { view, host }: Held): Element[] {
  const set = (map: string, keys: readonly string[]): Element[] => keys.map((key) => ({ map, key, value: undefined }));
  return [...set("local_cidrs", view.localCidrs), ...set("node_addresses", cidrsOf(words, host.nodePortCidrs))];
}

function declareAll(lines: string[], { words }: Held): void {
  const table = tableWord(words);
  for (const [name, declaration] of setsOf(words)) lines.push(`add set ${table} ${name} { ${declaration} }`, `flush set ${table} ${name}`);
  for (const [name, declaration] of mapsOf(words)) lines.push(`add map ${table} ${name} { ${declaration} }`, `flush map ${table} ${name}`);
  for (const [name, declaration] of memoriesOf(words)) lines.push(`add map ${table} ${name} { ${declaration} }`);
  lines.push(`add chain ${table} ${layoutChain(words)}`);
}

function rewrite(lines: string[], table: string, { chain, rules }: ChainText): void {
  lines.push(`flush chain ${table} ${chain}`);
  for (const rule of rules) lines.push(`add rule ${table} ${chain} ${rule}`);
}

function addElements(lines: string[], table: string, elements: readonly Element[]): void {
  const byMap = Map.groupBy(elements, ({ map }) => map);
  for (const [map, group] of byMap) lines.push(`add element ${table} ${map} { ${group.map(elementWord).join(", ")} }`);
}

function removeElements(lines: string[], table: string, elements: readonly Element[]): void {
  const byMap = Map.groupBy(elements, ({ map }) => map);
  for (const [map, group] of byMap) lines.push(`delete element ${table} ${map} { ${group.map(({ key }) => key).join(", ")} }`);
}

function elementWord({ key, value, comment }: Element): string {
  return `${key}${comment === undefined ? "" : ` comment "${comment}"`}${value === undefined ? "" : ` : ${value}`}`;
}
