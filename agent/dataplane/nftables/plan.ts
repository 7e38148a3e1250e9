import type { FrontendChange } from "../frontends.ts";
import { chainTexts, digest, release, slotsSince, use, type Held } from "./held.ts";
import { NOT_COMPARED } from "./listing.ts";
import { frontendText, type Element } from "./render-frontend.ts";
import type { ChainText, NeededObject, SlotText } from "./render-objects.ts";
import { chainsOf, cidrsOf, layoutOf, mapsOf, memoriesOf, setsOf, tableWord } from "./render.ts";

/** What is to be written, as text for one `nft -f`, which is one transaction. Each moves `held` to the state after it. Reads nothing. */

/** What of ours was found in the kernel. */
export interface Existing {
  /** Made by this layout: what it remembers of clients can stay. */
  readonly isCurrent: boolean;
  readonly chains: readonly string[];
}

/**
 * Everything, over whatever of ours is there. What is remembered of clients stays where this layout made it. Chains that are not needed are
 * emptied, and can go later: kernels before 6.2 count the references of elements that the same transaction removes.
 */
export function planSync(
  { held, own }: { readonly held: Held; readonly own: readonly Element[] },
  existing: Existing,
  mark: string,
): string {
  const { words } = held;
  const table = tableWord(words);
  const lines = [`add table ${table}`];
  if (!existing.isCurrent) lines.push(`delete table ${table}`, `add table ${table}`);
  declareAll(lines, held);
  const slots = slotsSince(held, new Map());
  for (const { map, declaration } of slots) lines.push(`add map ${table} ${map} { ${declaration} }`, `flush map ${table} ${map}`);
  const fixed = chainsOf(words, held.host);
  const made = [...slots, ...chainTexts(held, held.objects.values())];
  for (const [chain, { hook }] of fixed) lines.push(`add chain ${table} ${chain}${hook === undefined ? "" : ` { ${hook} }`}`);
  for (const { chain } of made) lines.push(`add chain ${table} ${chain}`);
  const known = new Set([layoutOf(words, digest), ...fixed.keys(), ...made.map(({ chain }) => chain)]);
  const stale = existing.isCurrent ? existing.chains.filter((chain) => !known.has(chain)) : [];
  for (const chain of stale) {
    held.idle.add(chain);
    lines.push(`flush chain ${table} ${chain}`, ...mapOfSlot(chain).map((map) => `flush map ${table} ${map}`));
  }
  for (const [chain, { rules }] of fixed) rewrite(lines, table, { chain, rules });
  for (const text of made) rewrite(lines, table, text);
  held.chains.take();
  addElements(lines, held, [...hostElements(held), ...slotElements(slots), ...own, ...held.shared.all()]);
  addElements(lines, held, [markElement(mark)]);
  held.mark = mark;
  return `${lines.join("\n")}\n`;
}

/** Only what the changes touch; "" when nothing in the kernel changes. */
export function planUpdate(held: Held, changes: readonly FrontendChange[], mark: string): string {
  const { words } = held;
  const table = tableWord(words);
  const slotsBefore = new Map(held.slots);
  const before: Element[] = [];
  const after: Element[] = [];
  for (const { previous } of changes) {
    if (!previous) continue;
    const text = frontendText(held.view, previous);
    release(held, text);
    before.push(...text.own);
  }
  for (const { next } of changes) {
    if (!next) continue;
    const text = frontendText(held.view, next);
    use(held, text);
    after.push(...text.own);
  }
  const own = difference(before, after);
  const shared = held.shared.take();
  const lines: string[] = [];
  const slots = slotsSince(held, slotsBefore);
  for (const { map, declaration } of slots) lines.push(`add map ${table} ${map} { ${declaration} }`);
  const chains = [...slots, ...changedChains(held)];
  for (const { chain } of chains) lines.push(`add chain ${table} ${chain}`);
  for (const text of chains) rewrite(lines, table, text);
  removeElements(lines, held, [...own.removed, ...shared.removed]);
  addElements(lines, held, [...slotElements(slots), ...own.added, ...shared.added]);
  return signed(lines, held, mark);
}

/** Takes away chains that no earlier transaction has left in use; "" when there are none. */
export function planTidy(held: Held, mark: string): string {
  const table = tableWord(held.words);
  const idle = [...held.idle];
  held.idle.clear();
  const lines = idle.map((chain) => `flush chain ${table} ${chain}`);
  lines.push(...idle.map((chain) => `delete chain ${table} ${chain}`));
  lines.push(...idle.flatMap(mapOfSlot).map((map) => `delete map ${table} ${map}`));
  return signed(lines, held, mark);
}

/** Changes nothing, and shows who listens that it is heard. Fails where the last write is not ours. */
export function planMark(held: Held, mark: string): string {
  return signed([""], held, mark);
}

/** Chains that are needed now and were not; those that are not any more become idle. */
function changedChains(held: Held): readonly ChainText[] {
  const { added, removed } = held.chains.take();
  const texts = chainTexts(
    held,
    added.map((name) => held.objects.get(name) as NeededObject),
  );
  for (const name of removed) {
    held.objects.delete(name);
    held.idle.add(name);
  }
  for (const { chain } of texts) held.idle.delete(chain);
  return texts;
}

/** The mark before is taken away and not flushed: where it is not there, the table is not what we think it is. */
function signed(lines: string[], held: Held, mark: string): string {
  if (lines.length === 0) return "";
  removeElements(lines, held, [markElement(held.mark)]);
  addElements(lines, held, [markElement(mark)]);
  held.mark = mark;
  return `${lines.join("\n")}\n`;
}

function markElement(key: string): Element {
  return { map: "writes", key, value: undefined };
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

function slotElements(slots: readonly SlotText[]): readonly Element[] {
  return slots.map(({ index, chain }) => ({ map: "slots", key: String(index), value: `goto ${chain}` }));
}

/** The map that goes with the chain of a slot. */
function mapOfSlot(chain: string): readonly string[] {
  return /^(node_)?(local_)?slot_\d+$/.test(chain) ? [chain.replace("slot_", "backends_")] : [];
}

function hostElements({ words, view, host }: Held): readonly Element[] {
  const set = (map: string, keys: readonly string[]): Element[] => keys.map((key) => ({ map, key, value: undefined }));
  return [...set("local_cidrs", view.localCidrs), ...set("node_addresses", cidrsOf(words, host.nodePortCidrs))];
}

function declareAll(lines: string[], { words }: Held): void {
  const table = tableWord(words);
  for (const [name, declaration] of setsOf(words)) lines.push(`add set ${table} ${name} { ${declaration} }`, `flush set ${table} ${name}`);
  for (const [name, declaration] of mapsOf(words)) lines.push(`add map ${table} ${name} { ${declaration} }`, `flush map ${table} ${name}`);
  for (const [name, declaration] of memoriesOf(words)) lines.push(`add map ${table} ${name} { ${declaration} }`);
  lines.push(`add chain ${table} ${layoutOf(words, digest)}`);
}

function rewrite(lines: string[], table: string, { chain, rules }: ChainText): void {
  lines.push(`flush chain ${table} ${chain}`);
  for (const rule of rules) lines.push(`add rule ${table} ${chain} ${rule}`);
}

function addElements(lines: string[], { words, sums }: Held, elements: readonly Element[]): void {
  for (const [map, group] of Map.groupBy(elements, ({ map }) => map)) {
    lines.push(`add element ${tableWord(words)} ${map} { ${group.map(elementWord).join(", ")} }`);
    if (!NOT_COMPARED.has(map)) for (const element of group) sums.add(element);
  }
}

function removeElements(lines: string[], { words, sums }: Held, elements: readonly Element[]): void {
  for (const [map, group] of Map.groupBy(elements, ({ map }) => map)) {
    lines.push(`delete element ${tableWord(words)} ${map} { ${group.map(({ key }) => key).join(", ")} }`);
    if (!NOT_COMPARED.has(map)) for (const element of group) sums.remove(element);
  }
}

function elementWord({ key, value, comment }: Element): string {
  return `${key}${comment === undefined ? "" : ` comment "${comment}"`}${value === undefined ? "" : ` : ${value}`}`;
}
