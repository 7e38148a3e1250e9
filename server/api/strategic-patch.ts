import { AppError } from "#proto/error.ts";
import type { Merging } from "#proto/kinds.ts";
import { isJsonObject, isOwnJsonObject, type JsonObject } from "./json-body.ts";

/**
 * Kubernetes' strategic merge patch: a merge patch (RFC 7386) that merges the lists it knows a key of, item by item. Pure; arguments are not changed. Rules:
 * kubernetes/community, "Strategic Merge Patch" (directives $patch, $setElementOrder, $deleteFromPrimitiveList, $retainKeys). Works on one copy: a patch may
 * name one item of a list 100,000 times, and a copy of the item each time would take minutes.
 */
export function strategicPatch(current: unknown, patch: JsonObject, merging: Merging): unknown {
  const copy: unknown = structuredClone(current);
  return mergeObject(copy, patch, { merging, path: "" }) ?? {};
}

interface At {
  readonly merging: Merging;
  /** Of the value in the object, `spec.ports`; items of a list add nothing. */
  readonly path: string;
}

const PATCH = "$patch";
const RETAIN = "$retainKeys";
const ORDER = "$setElementOrder/";
const DELETE_FROM = "$deleteFromPrimitiveList/";

/** Changes `current` where it is an object. undefined: the patch says that there shall be no such object. */
function mergeObject(current: unknown, patch: JsonObject, at: At): JsonObject | undefined {
  const directive = patch[PATCH];
  if (directive === "delete") return undefined;
  if (directive === "replace") return withoutDirectives(patch);
  if (directive !== undefined && directive !== "merge")
    throw bad(at, `${PATCH}: ${JSON.stringify(directive)} is none of delete, merge, replace`);
  const retained = patch[RETAIN] === undefined ? undefined : new Set(stringsOf(patch[RETAIN], at, RETAIN));
  const merged = isOwnJsonObject(current) ? current : {};
  if (retained) for (const key of Object.keys(merged)) if (!retained.has(key)) Reflect.deleteProperty(merged, key);
  for (const key of keysTouched(patch)) {
    const value = mergeField(key, merged[key], patch, at);
    if (value === undefined) Reflect.deleteProperty(merged, key);
    else merged[key] = value;
  }
  return merged;
}

/** The fields that the patch has something to say about, those of its directives among them. */
function keysTouched(patch: JsonObject): ReadonlySet<string> {
  const fieldOf = (key: string): string | undefined => {
    if (key === PATCH || key === RETAIN) return undefined;
    for (const prefix of [ORDER, DELETE_FROM]) if (key.startsWith(prefix)) return key.slice(prefix.length);
    return key;
  };
  return new Set(Object.keys(patch).flatMap((key) => fieldOf(key) ?? []));
}

/** undefined: there shall be no such field. */
function mergeField(key: string, current: unknown, patch: JsonObject, { merging, path }: At): unknown {
  const at: At = { merging, path: path === "" ? key : `${path}.${key}` };
  const said = patch[key];
  if (said === null) return undefined;
  const rule = Object.hasOwn(merging, at.path) ? merging[at.path] : undefined;
  const deletions = patch[`${DELETE_FROM}${key}`];
  if (Array.isArray(said) || deletions !== undefined || (said === undefined && Array.isArray(current))) {
    if (rule === undefined || rule.type === "atomic") return said ?? current;
    const order = patch[`${ORDER}${key}`];
    const list = Array.isArray(current) ? (current as readonly unknown[]) : [];
    const changes = said === undefined ? [] : listOf(said, at);
    if (rule.type === "set")
      return ordered(mergeSet(list, changes, deletions === undefined ? [] : listOf(deletions, at)), order, (item) => item, at);
    return ordered(mergeList(list, changes, rule.patchKey, at), order, (item) => keyOf(item, rule.patchKey), at);
  }
  if (!isJsonObject(said)) return said ?? current;
  return mergeObject(current, said, at);
}

function mergeSet(current: readonly unknown[], added: readonly unknown[], deleted: readonly unknown[]): unknown[] {
  const gone = new Set(deleted);
  return [...new Set([...current, ...added])].filter((item) => !gone.has(item));
}

/** What directives say comes first, as in Kubernetes: replace makes the rest of the patch the list; delete takes out every item with that key. */
function mergeList(current: readonly unknown[], changes: readonly unknown[], mergeKey: string, at: At): unknown[] {
  const items = changes.map((change) => {
    if (isJsonObject(change) && (change[mergeKey] !== undefined || change[PATCH] === "replace")) return change;
    throw bad(at, `each item of the list needs the field ${mergeKey}, by which it is found`);
  });
  const directiveOf = (item: JsonObject): unknown => (item[PATCH] === "merge" ? undefined : item[PATCH]);
  for (const directive of items.map(directiveOf))
    if (directive !== undefined && directive !== "delete" && directive !== "replace")
      throw bad(at, `${PATCH}: ${JSON.stringify(directive)} is none of delete, merge, replace`);
  const plain = items.filter((item) => directiveOf(item) === undefined);
  if (items.some((item) => item[PATCH] === "replace")) return plain.map(withoutDirectives);
  const deleted = new Set(items.filter((item) => item[PATCH] === "delete").map((item) => item[mergeKey]));
  const merged = current.filter((item) => !deleted.has(keyOf(item, mergeKey)));
  // Where several items have one key, the first is meant.
  const places = new Map(merged.map((item, i) => [keyOf(item, mergeKey), i] as const).toReversed());
  for (const change of plain) {
    const place = places.get(change[mergeKey]) ?? merged.length;
    merged[place] = mergeObject(merged[place], change, at);
    places.set(change[mergeKey], place);
  }
  return merged;
}

/** Items that the order names come in that order; the others stay behind the one that they came after. */
function ordered(items: readonly unknown[], order: unknown, identify: (item: unknown) => unknown, at: At): unknown[] {
  if (order === undefined) return [...items];
  const wanted = new Map(
    listOf(order, at)
      .map((item, i) => [identify(item), i] as const)
      .toReversed(),
  );
  const rank = (item: unknown): number => wanted.get(identify(item)) ?? -1;
  const named = items.filter((item) => rank(item) !== -1).toSorted((a, b) => rank(a) - rank(b));
  const result: unknown[] = [];
  let next = 0;
  // Places of named items are filled in the wanted order; who is not named keeps its place among them.
  for (const item of items) result.push(rank(item) === -1 ? item : named[next++]);
  return result;
}

function keyOf(item: unknown, mergeKey: string): unknown {
  return isJsonObject(item) ? item[mergeKey] : undefined;
}

function withoutDirectives(patch: JsonObject): JsonObject {
  return structuredClone(Object.fromEntries(Object.entries(patch).filter(([key]) => !key.startsWith("$"))));
}

function listOf(value: unknown, at: At): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw bad(at, "must be a list");
}

function stringsOf(value: unknown, at: At, what: string): readonly string[] {
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value;
  throw bad(at, `${what} must be a list of names`);
}

function bad({ path }: At, why: string): AppError {
  return new AppError("BadRequest", `the strategic merge patch cannot be applied: ${path === "" ? "" : `${path}: `}${why}`);
}
