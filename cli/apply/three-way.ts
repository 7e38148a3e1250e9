/**
 * What `apply` sends. The new state is what the manifest says, laid over what stands there (fields that others or the server filled in stay), less
 * what the last manifest said and this one does not. Lists of objects are merged element by element, so that a node port that the server chose
 * for a port stays with it; other lists are replaced whole.
 */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** What makes two elements of a list the same one; undefined: their position does. */
const LIST_KEYS: Readonly<Record<string, (element: JsonObject) => string>> = {
  ports: ({ port = null, protocol = "TCP" }) => JSON.stringify([port, protocol]),
  endpoints: ({ addresses }) => JSON.stringify(addresses),
  addresses: ({ type = null, address = null }) => JSON.stringify([type, address]),
};

/** `original` is the manifest applied last, undefined if there was none. */
export function threeWay(original: JsonObject | undefined, modified: JsonObject, current: JsonObject): JsonObject {
  const result: Record<string, Json> = {};
  for (const [key, value] of Object.entries(current))
    if (Object.hasOwn(modified, key) || !(original && Object.hasOwn(original, key))) result[key] = value;
  for (const [key, value] of Object.entries(modified)) result[key] = mergeValue(key, original?.[key], value, current[key]);
  return result;
}

/** JSON merge patch (RFC 7386) that turns `from` into `to`. */
export function mergePatch(from: JsonObject, to: JsonObject): JsonObject {
  const patch: Record<string, Json> = {};
  for (const key of Object.keys(from)) if (!Object.hasOwn(to, key)) patch[key] = null;
  for (const [key, value] of Object.entries(to)) {
    const before = Object.hasOwn(from, key) ? from[key] : undefined;
    if (before !== undefined && isEqual(before, value)) continue;
    patch[key] = isObject(before) && isObject(value) ? mergePatch(before, value) : value;
  }
  return patch;
}

/** Keys sorted, as Go writes objects: the same manifest gives the same text however its keys were ordered. */
export function canonical(value: Json): string {
  return JSON.stringify(value, (_key, one: Json) =>
    isObject(one) ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1))) : one,
  );
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function mergeValue(key: string, original: Json | undefined, modified: Json, current: Json | undefined): Json {
  if (isObject(modified) && isObject(current)) return threeWay(isObject(original) ? original : undefined, modified, current);
  if (isObjectList(modified) && isObjectList(current))
    return mergeList(LIST_KEYS[key], isObjectList(original) ? original : undefined, modified, current);
  return modified;
}

/** By position only where the last manifest had the element too: otherwise there is no telling whether it is the same one. */
function mergeList(
  keyOf: ((element: JsonObject) => string) | undefined,
  original: readonly JsonObject[] | undefined,
  modified: readonly JsonObject[],
  current: readonly JsonObject[],
): Json {
  if (!keyOf)
    return modified.map((element, i) => {
      const [before, standing] = [original?.[i], current[i]];
      return before && standing ? threeWay(before, element, standing) : element;
    });
  const find = (list: readonly JsonObject[] | undefined, key: string): JsonObject | undefined => list?.find((one) => keyOf(one) === key);
  return modified.map((element) => {
    const key = keyOf(element);
    const standing = find(current, key);
    return standing ? threeWay(find(original, key), element, standing) : element;
  });
}

function isObjectList(value: Json | undefined): value is readonly JsonObject[] {
  return Array.isArray(value) && value.length > 0 && value.every((one: Json) => isObject(one));
}

function isEqual(a: Json, b: Json): boolean {
  return canonical(a) === canonical(b);
}
