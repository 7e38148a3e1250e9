import { isDeepStrictEqual } from "node:util";
import { AppError } from "#proto/error.ts";
import { checkShape, isJsonObject, isOwnJsonObject, MAX_DEPTH } from "./json-body.ts";

/**
 * JSON patch, RFC 6902. All operations or none; changes neither argument. Works on one copy, for a copy at each operation would make a short patch of a
 * large object take minutes; what a few bytes of patch can make large (copies, items moved along in lists) has bounds.
 */

/** As in Kubernetes. */
const MAX_OPERATIONS = 10_000;
/** Kubernetes takes three times as much; no more than this is an object. */
const MAX_COPIED_BYTES = 1024 * 1024;
/** 10,000 operations at the head of a list of 5,000 items, which grows by them. */
const MAX_SHIFTED_ITEMS = 100_000_000;

export function jsonPatch(target: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw new AppError("BadRequest", "a JSON patch is a list of operations");
  if (patch.length > MAX_OPERATIONS)
    throw tooLarge(`The allowed maximum operations in a JSON patch is ${MAX_OPERATIONS}, got ${patch.length}`);
  const work: Work = { holder: { [ROOT]: structuredClone(target) }, copiedBytes: 0, shiftedItems: 0 };
  for (const [i, operation] of patch.entries()) applyOne(work, operation, (why) => refusal(i, why));
  checkShape(work.holder[ROOT], "the object that the JSON patch makes");
  return work.holder[ROOT];
}

/** Pointers begin with it: `/a` is the element a of the element "". */
const ROOT = "";

interface Work {
  /** Has the document as its one element, so that the document itself can be replaced like any part. */
  readonly holder: Record<string, unknown>;
  copiedBytes: number;
  shiftedItems: number;
}

type Refuse = (why: string) => AppError;

function refusal(i: number, why: string): AppError {
  return new AppError("Invalid", "the server rejected our request due to an error in our request", {
    causes: [{ field: `[${i}]`, reason: "FieldValueInvalid", message: why }],
    hint: `operation ${i} of the JSON patch: ${why}`,
  });
}

function tooLarge(why: string): AppError {
  return new AppError("RequestEntityTooLarge", `Request entity too large: ${why}`);
}

function applyOne(work: Work, operation: unknown, refuse: Refuse): void {
  if (!isJsonObject(operation)) throw refuse("must be an object");
  const path = pointer(operation["path"], refuse);
  if (!path) throw refuse("path must be a JSON pointer like /metadata/labels/app");
  const from = (): readonly string[] => {
    const parts = pointer(operation["from"], refuse);
    if (!parts) throw refuse("from must be a JSON pointer");
    return parts;
  };
  switch (operation["op"]) {
    case "add":
    case "replace":
      if (!("value" in operation)) throw refuse("value is needed");
      edit(work, path, { op: operation["op"], value: structuredClone(operation["value"]) }, refuse);
      return;
    case "remove":
      edit(work, path, { op: "remove" }, refuse);
      return;
    case "test":
      if (isDeepStrictEqual(read(work.holder, path, refuse), operation["value"])) return;
      throw refuse(`${String(operation["path"])} does not have the value that the test asks for`);
    case "copy":
      edit(work, path, { op: "add", value: copied(read(work.holder, from(), refuse), work, refuse) }, refuse);
      return;
    case "move": {
      const source = from();
      const value = read(work.holder, source, refuse);
      edit(work, source, { op: "remove" }, refuse);
      edit(work, path, { op: "add", value }, refuse);
      return;
    }
    default:
      throw refuse("op must be one of add, remove, replace, move, copy and test");
  }
}

function pointer(text: unknown, refuse: Refuse): readonly string[] | undefined {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) return undefined;
  const parts = text.split("/");
  if (parts.length > MAX_DEPTH) throw refuse(`nothing is nested deeper than ${MAX_DEPTH} levels`);
  return parts.map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function read(holder: unknown, path: readonly string[], refuse: Refuse): unknown {
  let at = holder;
  for (const part of path) {
    if (Array.isArray(at)) at = at[indexIn(part, at.length - 1, refuse)];
    else if (isJsonObject(at) && Object.hasOwn(at, part)) at = at[part];
    else throw refuse(`there is nothing at ${part}`);
  }
  return at;
}

type Edit = { readonly op: "add" | "replace"; readonly value: unknown } | { readonly op: "remove" };

function edit(work: Work, path: readonly string[], change: Edit, refuse: Refuse): void {
  const last = path.at(-1) ?? ROOT;
  if (path.length === 1 && change.op === "remove") throw refuse("the whole object cannot be removed");
  if (last === "__proto__") throw refuse('"__proto__" is no field of anything');
  const parent = read(work.holder, path.slice(0, -1), refuse);
  if (Array.isArray(parent)) {
    work.shiftedItems += editList(parent, last, change, refuse);
    if (work.shiftedItems > MAX_SHIFTED_ITEMS) throw tooLarge("the JSON patch adds and removes too many items of too long lists");
    return;
  }
  if (!isOwnJsonObject(parent) || (change.op !== "add" && !Object.hasOwn(parent, last))) throw refuse(`there is nothing at ${last}`);
  if (change.op === "remove") Reflect.deleteProperty(parent, last);
  else parent[last] = change.value;
}

/** Says how many items it has moved along. */
function editList(list: unknown[], part: string, change: Edit, refuse: Refuse): number {
  const index = change.op === "add" && part === "-" ? list.length : indexIn(part, list.length - (change.op === "add" ? 0 : 1), refuse);
  if (change.op === "remove") list.splice(index, 1);
  else list.splice(index, change.op === "add" ? 0 : 1, change.value);
  return change.op === "replace" ? 0 : list.length - index;
}

function indexIn(part: string, highest: number, refuse: Refuse): number {
  const index = /^(0|[1-9]\d{0,8})$/.test(part) ? Number(part) : -1;
  if (index < 0 || index > highest) throw refuse(`${part} is no index of that list`);
  return index;
}

/** The value once more, as far as the patch may still make the object larger by copies: each may double what the one before has made. */
function copied(value: unknown, work: Work, refuse: Refuse, depth = 0): unknown {
  if (depth > MAX_DEPTH) throw refuse(`nothing is nested deeper than ${MAX_DEPTH} levels`);
  work.copiedBytes += typeof value === "string" ? value.length + 2 : 4;
  if (work.copiedBytes > MAX_COPIED_BYTES)
    throw refuse(`Unable to complete the copy, the accumulated size increase of copy is exceeding the limit ${MAX_COPIED_BYTES}`);
  if (Array.isArray(value)) return value.map((item) => copied(item, work, refuse, depth + 1));
  if (!isJsonObject(value)) return value;
  const copy: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    work.copiedBytes += key.length + 3;
    copy[key] = copied(inner, work, refuse, depth + 1);
  }
  return copy;
}
