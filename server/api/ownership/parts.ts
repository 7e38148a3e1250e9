import type { Merging, MergeRule } from "#proto/kinds.ts";
import { isJsonObject } from "#server/api/json-body.ts";
import { keyElement } from "./field-set.ts";

/** What a value consists of, and how it is put together again. Pure. */

/** Where a value is in its object, and the rules there. */
export interface Place {
  readonly merging: Merging;
  /** `spec.ports`; items of a list add nothing. */
  readonly path: string;
  readonly depth: number;
}

export function rootOf(merging: Merging): Place {
  return { merging, path: "", depth: 0 };
}

/** Element (`f:name`, `k:{…}`, `v:…`) → value. */
export type Parts = ReadonlyMap<string, unknown>;

/** Nothing of ours is nearly so deep; what is deeper is one value. */
const MAX_DEPTH = 32;

/** undefined: it is one value, and whoever writes some of it writes it whole. */
export function partsOf(value: unknown, place: Place): Parts | undefined {
  if (typeof value !== "object" || value === null || place.depth >= MAX_DEPTH) return undefined;
  const rule = ruleAt(place);
  if (rule?.type === "atomic") return undefined;
  if (isJsonObject(value))
    return new Map(Object.entries(value).flatMap(([key, inner]) => (inner === undefined ? [] : [[`f:${key}`, inner]])));
  const elements = rule && elementsOf(value, rule);
  return typeof elements === "object" ? elements : undefined;
}

export function partAt(element: string, { merging, path, depth }: Place): Place {
  if (!element.startsWith("f:")) return { merging, path, depth: depth + 1 };
  const key = element.slice(2);
  return { merging, path: path === "" ? key : `${path}.${key}`, depth: depth + 1 };
}

/** Whether an element of an item, which has its list's path, is a part of the item's key. */
export function isKeyOfItem(element: string, place: Place): boolean {
  const rule = ruleAt(place);
  return rule?.type === "map" && element.startsWith("f:") && rule.keys.includes(element.slice(2));
}

/** A value like `like`, of these parts. */
export function madeOf(parts: Parts, like: unknown): unknown {
  if (Array.isArray(like)) return [...parts.values()];
  return Object.fromEntries(Array.from(parts, ([element, value]) => [element.slice(2), value]));
}

/** Why a list cannot be told apart into its items, of the first one like that. */
export function listFault(value: unknown, place: Place): string | undefined {
  if (typeof value !== "object" || value === null || place.depth >= MAX_DEPTH) return undefined;
  const rule = ruleAt(place);
  if (Array.isArray(value) && rule) {
    const elements = elementsOf(value, rule);
    if (typeof elements === "string") return `.${place.path}: ${elements}`;
  }
  for (const [element, part] of partsOf(value, place) ?? []) {
    const fault = listFault(part, partAt(element, place));
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function ruleAt({ merging, path }: Place): MergeRule | undefined {
  return Object.hasOwn(merging, path) ? merging[path] : undefined;
}

/** The items by their elements; a text says what hinders that; undefined: the list is one value. */
function elementsOf(list: object, rule: MergeRule): Parts | string | undefined {
  if (!Array.isArray(list) || rule.type === "atomic" || (rule.type === "map" && rule.keys.length === 0)) return undefined;
  const parts = new Map<string, unknown>();
  for (const [i, item] of (list as readonly unknown[]).entries()) {
    const element = rule.type === "set" ? `v:${JSON.stringify(item)}` : keyOf(item, rule);
    if (typeof element !== "string")
      return `element ${i}: associative list with keys has an element that omits key field "${element.missing}"`;
    if (parts.has(element)) return `duplicate entries for key ${element.slice(2)}`;
    parts.set(element, item);
  }
  return parts;
}

function keyOf(item: unknown, { keys, keyDefaults = {} }: Extract<MergeRule, { type: "map" }>): string | { readonly missing: string } {
  const key: [string, unknown][] = [];
  for (const name of keys) {
    const value = (isJsonObject(item) ? item[name] : undefined) ?? keyDefaults[name];
    if (value === undefined) return { missing: name };
    key.push([name, value]);
  }
  return keyElement(key);
}
