import type { Element } from "./render-frontend.ts";

/** What `nft -n list table` prints, read back; and a sum by which thousands of elements are compared without being kept. Pure. */

export interface TableSum {
  /** map → its elements. */
  readonly elements: ReadonlyMap<string, ElementSum>;
  /** chain → its number of rules. */
  readonly rules: ReadonlyMap<string, number>;
}

export interface ElementSum {
  readonly count: number;
  /** Of all elements' hashes, modulo 2^32: the order does not matter. */
  readonly sum: number;
}

/** What our table must hold, kept up to date with each change. */
export class ElementSums {
  readonly #sums = new Map<string, { count: number; sum: number }>();

  add({ map, key, value }: Element): void {
    this.#change(map, 1, hashOf(key, value));
  }

  remove({ map, key, value }: Element): void {
    this.#change(map, -1, hashOf(key, value));
  }

  get sums(): ReadonlyMap<string, ElementSum> {
    return this.#sums;
  }

  #change(map: string, by: 1 | -1, hash: number): void {
    const sum = this.#sums.get(map) ?? { count: 0, sum: 0 };
    sum.count += by;
    sum.sum = (sum.sum + by * hash) >>> 0;
    this.#sums.set(map, sum);
  }
}

/** Elements of these are other things than ours to write, or new with each write. */
export const NOT_COMPARED: ReadonlySet<string> = new Set(["affinity", "node_affinity", "priorities", "writes"]);

export function parseTable(listing: string): TableSum {
  const elements = new ElementSums();
  const rules = new Map<string, number>();
  const known = new Map<string, ElementSum>();
  let set: string | undefined;
  let chain: string | undefined;
  let inElements = false;
  for (const line of listing.split("\n")) {
    const [, kind, name = ""] = /^\t(set|map|chain) (\S+) \{$/.exec(line) ?? [];
    if (kind === "chain") [chain, set] = [name, undefined];
    else if (kind !== undefined) [chain, set] = [undefined, name];
    if (kind === "chain") rules.set(name, 0);
    else if (kind !== undefined) known.set(name, { count: 0, sum: 0 });
    if (kind !== undefined) continue;
    const text = line.trim();
    if (chain !== undefined && /^\t\t\S/.test(line) && !text.startsWith("type ")) rules.set(chain, (rules.get(chain) ?? 0) + 1);
    if (set === undefined || NOT_COMPARED.has(set)) continue;
    if (text.startsWith("elements = {")) inElements = true;
    if (!inElements) continue;
    for (const one of elementsOf(text.replace(/^elements = \{/, ""))) elements.add({ map: set, ...one });
    if (text.endsWith("}")) inElements = false;
  }
  return { elements: new Map([...known, ...elements.sums]), rules };
}

function elementsOf(text: string): readonly { readonly key: string; readonly value: string | undefined }[] {
  return text
    .replace(/\}$/, "")
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map((part) => {
      const [, key = "", value] = /^(.*?)(?: comment "[^"]*")?(?: : (.*))?$/.exec(part) ?? [];
      return { key: canonical(key), value: value === undefined ? undefined : canonical(value) };
    });
}

/** Every map and chain that is not as it should be, in words. */
export function tableDrift(wanted: TableSum, found: TableSum): readonly string[] {
  const drift: string[] = [];
  for (const [map, { count, sum }] of wanted.elements) {
    const there = found.elements.get(map);
    if (!there) drift.push(`${map}: gone`);
    else if (there.count !== count) drift.push(`${map}: ${there.count} of ${count} elements`);
    else if (there.sum !== sum) drift.push(`${map}: elements were changed`);
  }
  for (const [map, { count }] of found.elements) if (count > 0 && !wanted.elements.has(map)) drift.push(`${map}: is not ours`);
  for (const [chain, count] of wanted.rules) {
    const there = found.rules.get(chain);
    if (there === undefined) drift.push(`${chain}: gone`);
    else if (there !== count) drift.push(`${chain}: ${there} of ${count} rules`);
  }
  for (const [chain, count] of found.rules) if (count > 0 && !wanted.rules.has(chain)) drift.push(`${chain}: is not ours`);
  return drift;
}

function hashOf(key: string, value: string | undefined): number {
  let hash = 0x811c_9dc5;
  const text = value === undefined ? key : `${key} : ${value}`;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x0100_0193) >>> 0;
  return hash;
}

const PROTOCOLS: ReadonlyMap<string, string> = new Map([
  ["6", "tcp"],
  ["17", "udp"],
  ["132", "sctp"],
]);

/** The tool prints protocols and priorities in its own way: `6`, and `f0fe:68ae` for 0xf0fe68ae. */
function canonical(words: string): string {
  const parts = words.split(" . ");
  if (parts.length === 1) return priorityOf(words);
  const at = parts.findIndex((part) => PROTOCOLS.has(part));
  return parts.map((part, i) => (i === at && i <= 1 ? (PROTOCOLS.get(part) ?? part) : priorityOf(part))).join(" . ");
}

function priorityOf(part: string): string {
  const [, major = "", minor = ""] = /^([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(part) ?? [];
  return major === "" ? part : `0x${major.padStart(4, "0")}${minor.padStart(4, "0")}`;
}
