import { isDeepStrictEqual } from "node:util";
import { AppError } from "#proto/error.ts";
import { isJsonObject } from "./json-body.ts";

/** JSON patch, RFC 6902. All operations or none; changes neither argument. */

const MAX_OPERATIONS = 1000;

export function jsonPatch(target: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw new AppError("BadRequest", "a JSON patch is a list of operations");
  if (patch.length > MAX_OPERATIONS) throw new AppError("RequestEntityTooLarge", `a JSON patch may have ${MAX_OPERATIONS} operations`);
  let document: unknown = target;
  for (const [i, operation] of patch.entries()) document = applyOne(document, operation, i);
  return document;
}

function applyOne(document: unknown, operation: unknown, i: number): unknown {
  const refuse = (why: string): AppError =>
    new AppError("Invalid", "the server rejected our request due to an error in our request", {
      causes: [{ field: `[${i}]`, reason: "FieldValueInvalid", message: why }],
      hint: `operation ${i} of the JSON patch: ${why}`,
    });
  if (!isJsonObject(operation)) throw refuse("must be an object");
  const path = pointer(operation["path"]);
  if (!path) throw refuse("path must be a JSON pointer like /metadata/labels/app");
  const from = pointer(operation["from"]);
  switch (operation["op"]) {
    case "add":
    case "replace":
      if (!("value" in operation)) throw refuse("value is needed");
      return edit(document, path, operation["op"], operation["value"], refuse);
    case "remove":
      return edit(document, path, "remove", undefined, refuse);
    case "test":
      if (isDeepStrictEqual(read(document, path, refuse), operation["value"])) return document;
      throw refuse(`${String(operation["path"])} does not have the value that the test asks for`);
    case "copy":
      if (!from) throw refuse("from must be a JSON pointer");
      return edit(document, path, "add", read(document, from, refuse), refuse);
    case "move": {
      if (!from) throw refuse("from must be a JSON pointer");
      const moved = read(document, from, refuse);
      return edit(edit(document, from, "remove", undefined, refuse), path, "add", moved, refuse);
    }
    default:
      throw refuse("op must be one of add, remove, replace, move, copy and test");
  }
}

type Refuse = (why: string) => AppError;

function pointer(text: unknown): string[] | undefined {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) return undefined;
  const parts = text.split("/").slice(1);
  return parts.map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function read(document: unknown, path: readonly string[], refuse: Refuse): unknown {
  let at = document;
  for (const part of path) {
    if (Array.isArray(at)) at = at[indexIn(at, part, at.length - 1, refuse)];
    else if (isJsonObject(at) && Object.hasOwn(at, part)) at = at[part];
    else throw refuse(`there is nothing at ${part}`);
  }
  return at;
}

/** A copy along the path, the rest shared. */
function edit(document: unknown, path: readonly string[], op: "add" | "replace" | "remove", value: unknown, refuse: Refuse): unknown {
  const [part, ...rest] = path;
  if (part === undefined) {
    if (op === "remove") throw refuse("the whole object cannot be removed");
    return value;
  }
  if (part === "__proto__") throw refuse('"__proto__" is no field of anything');
  if (Array.isArray(document)) {
    const last = rest.length === 0;
    const index =
      last && op === "add" && part === "-"
        ? document.length
        : indexIn(document, part, document.length - (last && op === "add" ? 0 : 1), refuse);
    if (!last) return document.with(index, edit(document[index], rest, op, value, refuse));
    return op === "remove" ? document.toSpliced(index, 1) : document.toSpliced(index, op === "add" ? 0 : 1, value);
  }
  if (!isJsonObject(document)) throw refuse(`there is nothing at ${part}`);
  if (rest.length > 0 || op !== "add") if (!Object.hasOwn(document, part)) throw refuse(`there is nothing at ${part}`);
  if (rest.length > 0) return { ...document, [part]: edit(document[part], rest, op, value, refuse) };
  if (op !== "remove") return { ...document, [part]: value };
  return Object.fromEntries(Object.entries(document).filter(([key]) => key !== part));
}

function indexIn(_list: readonly unknown[], part: string, highest: number, refuse: Refuse): number {
  const index = /^(0|[1-9]\d{0,8})$/.test(part) ? Number(part) : -1;
  if (index < 0 || index > highest) throw refuse(`${part} is no index of that list`);
  return index;
}
