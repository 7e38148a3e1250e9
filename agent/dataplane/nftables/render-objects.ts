import { cidrWord, secondsWord } from "../iptables/names.ts";
import { fnv1a } from "./fnv1a.ts";
import { sideWord, spacesOf, type Side, type Space } from "./space.ts";
import type { NftWords } from "./words.ts";

/**
 * Chains and maps that are there only while a frontend needs them. There is one for each number of slots, each affinity timeout and each list of
 * source ranges, however many services there are. Pure.
 */

export type NeededObject =
  | Pick
  | Stick
  | Draw
  | { readonly kind: "recall"; readonly space: "vip" | "node"; readonly seconds: number }
  | { readonly kind: "from"; readonly ranges: readonly string[]; readonly name: string; readonly loops: boolean };

interface Pick extends SlotRange {
  readonly kind: "pick";
  readonly space: "vip" | "node";
  readonly side: Side;
}
interface Stick extends SlotRange {
  readonly kind: "stick";
  readonly space: "vip" | "node";
  readonly side: Side;
  readonly seconds: number;
}
/** Draws one of several others, each as often as its weight says. */
interface Draw {
  readonly kind: "draw";
  readonly space: "vip" | "node";
  readonly of: readonly { readonly weight: number; readonly from: Pick | Stick }[];
}
/** Of the slots of a frontend. */
interface SlotRange {
  readonly first: number;
  readonly slots: number;
}

/** A chain and its rules; a slot's chain also has a map, and is named in the map of all slots. */
export interface ChainText {
  readonly chain: string;
  readonly rules: readonly string[];
}

export interface SlotText extends ChainText {
  readonly map: string;
  readonly declaration: string;
  readonly index: number;
}

export function chainOf(object: NeededObject): string {
  if (object.kind === "from") return object.name;
  const prefix = object.space === "vip" ? "" : "node_";
  if (object.kind === "recall") return `${prefix}recall_${secondsWord(object.seconds)}`;
  if (object.kind === "draw") {
    const what = object.of.map(({ weight, from }) => `${weight} ${chainOf(from)}`).join();
    return `${prefix}draw_${hashOf(what, 0)}${hashOf(what, 1)}`;
  }
  const at = object.first === 0 ? "" : `_at_${object.first}`;
  const stem = `${prefix}${object.kind}_${sideWord(object.side)}${object.slots}${at}`;
  return object.kind === "stick" ? `${stem}_${secondsWord(object.seconds)}` : stem;
}

function hashOf(text: string, seed: number): string {
  return fnv1a(`${seed} ${text}`).toString(16).padStart(8, "0");
}

export function slotMap(space: Space, side: Side, slot: number): string {
  return `${space.prefix}${sideWord(side)}backends_${slot}`;
}

export function slotText(words: NftWords, space: Space, side: Side, slot: number): SlotText {
  const map = slotMap(space, side, slot);
  return {
    chain: slotChain(space, side, slot),
    rules: [`dnat ${words.ip} to ${space.place} map @${map}`],
    map,
    declaration: `type ${space.types} : ${words.address} . inet_service;`,
    index: space.firstSlot[side] + slot,
  };
}

function slotChain({ prefix }: Space, side: Side, slot: number): string {
  return `${prefix}${sideWord(side)}slot_${slot}`;
}

export function objectText(words: NftWords, object: NeededObject): ChainText {
  return { chain: chainOf(object), rules: rulesOf(words, object) };
}

function rulesOf(words: NftWords, object: NeededObject): readonly string[] {
  if (object.kind === "from") return fromRules(words, object.ranges, object.loops);
  const space = spacesOf(words)[object.space];
  if (object.kind === "recall") return recallRules(words, space, object.seconds);
  if (object.kind === "draw") return [drawRule(object)];
  const offset = space.firstSlot[object.side] + object.first;
  const draw = `numgen random mod ${object.slots}${offset === 0 ? "" : ` offset ${offset}`}`;
  if (object.kind === "stick") return stickRules(words, space, { draw, seconds: object.seconds });
  // The second rule is for the packet between whose two lookups the number of slots has become smaller.
  return [`${draw} vmap @slots`, `goto ${slotChain(space, object.side, 0)}`];
}

/** A number for each connection, and for each of them as many in a row as it weighs. */
function drawRule({ of }: Draw): string {
  let next = 0;
  const ranges = of.map(({ weight, from }) => {
    const first = next;
    next += weight;
    return `${weight === 1 ? first : `${first}-${next - 1}`} : goto ${chainOf(from)}`;
  });
  return `numgen random mod ${next} vmap { ${ranges.join(", ")} }`;
}

/**
 * What a client got is remembered as a number of its endpoint, which is looked up again each time: an endpoint that has gone is not found, and
 * another is drawn. Between the two lookups the number is in the packet's priority, marked by its four highest bits (restore_priority).
 */
function stickRules(
  words: NftWords,
  space: Space,
  { draw, seconds }: { readonly draw: string; readonly seconds: number },
): readonly string[] {
  const { prefix, place } = space;
  const client = space.client.expression;
  return [
    `meta priority != 0 update @priorities { ${words.sender.expression} timeout 5s : meta priority }`,
    `meta priority set ${client} map @${prefix}affinity jump ${prefix}recall_${secondsWord(seconds)}`,
    `delete @${prefix}affinity { ${client} : meta priority }`, // an update would keep what it had
    `meta priority set ${place} . ${draw} map @${prefix}sticky_slots`,
    ...recallRules(words, space, seconds),
  ];
}

/** Remembers for as long again, and goes where the number says. */
function recallRules({ ip }: NftWords, { prefix, place, client }: Space, seconds: number): readonly string[] {
  return [
    `update @${prefix}affinity { ${client.expression} timeout ${secondsWord(seconds)}s : meta priority }`,
    `dnat ${ip} to ${place} . meta priority map @${prefix}sticky_endpoints`,
  ];
}

/** Who is in no range is dropped, before anything is translated. `loops`: the host may call the address from the address itself. */
function fromRules({ ip }: NftWords, ranges: readonly string[], loops: boolean): readonly string[] {
  const words = ranges.map(cidrWord);
  const admitted =
    words.length > 4 ? [`${ip} saddr { ${words.join(", ")} } goto admit`] : words.map((range) => `${ip} saddr ${range} goto admit`);
  return [...admitted, ...(loops ? [`${ip} saddr . ${ip} daddr @loops goto admit`] : []), "drop"];
}
