import type { z } from "zod";

/** What can be read of an object whose form has faults, so that rules between its fields can be told of in the same answer. Pure. */

type Issue = z.core.$ZodIssue;

/**
 * The object with the schema's defaults, its faulty values as they were given where they are at least texts or numbers as they should be, and left out
 * where not. undefined where too much is wrong. `input` is not changed.
 */
export function mended(schema: z.ZodType, input: unknown, issues: readonly Issue[]): unknown {
  const copy: unknown = structuredClone(input);
  const broken = issues.map((issue) => ({ issue, path: valuePath(input, issue) }));
  for (const { issue, path } of broken)
    if (issue.code === "unrecognized_keys") for (const key of issue.keys) removeAt(copy, [...path, key]);
    else removeAt(copy, path);
  const read = schema.safeParse(copy);
  const object = read.success ? read.data : withPlaceholders(schema, copy, read.error.issues);
  if (object === undefined) return undefined;
  for (const { issue, path } of broken) {
    const given = valueAt(input, path);
    if (isReadable(given, issue)) setAt(object, path, given);
  }
  return object;
}

/** What is needed and was left out; nobody is told what rules say of these. */
function withPlaceholders(schema: z.ZodType, copy: unknown, issues: readonly Issue[]): unknown {
  for (const issue of issues) {
    const placeholder = issue.code === "invalid_type" ? PLACEHOLDERS[issue.expected] : undefined;
    if (placeholder === undefined) return undefined;
    setAt(copy, issue.path, structuredClone(placeholder));
  }
  return schema.safeParse(copy).data;
}

const PLACEHOLDERS: Readonly<Record<string, unknown>> = {
  string: "x",
  number: 1,
  int: 1,
  boolean: false,
  array: [],
  object: {},
  record: {},
};

/** Items of a list go and come as the whole list, for the others keep their places. */
function valuePath(input: unknown, { path }: Issue): readonly PropertyKey[] {
  const parent = path.slice(0, -1);
  return path.length > 1 && Array.isArray(valueAt(input, parent)) ? parent : path;
}

/** Of the type that it should be, and only its value is wrong; a list when that is so of its faulty items. */
function isReadable(given: unknown, { code, path }: Issue): boolean {
  if (Array.isArray(given)) {
    const isOfItem = typeof path.at(-1) === "number";
    return isOfItem && VALUE_FAULTS.has(code) && given.length <= MAX_ITEMS && given.every((item) => typeof item === "string");
  }
  return typeof given === "number" ? code === "too_small" || code === "too_big" : typeof given === "string" && VALUE_FAULTS.has(code);
}

const VALUE_FAULTS: ReadonlySet<Issue["code"]> = new Set(["invalid_value", "invalid_format", "too_big", "too_small", "custom"]);
const MAX_ITEMS = 100;

export function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let at = input;
  for (const part of path) {
    if (typeof at !== "object" || at === null) return undefined;
    at = (at as Record<PropertyKey, unknown>)[part];
  }
  return at;
}

function setAt(input: unknown, path: readonly PropertyKey[], value: unknown): void {
  const parent = valueAt(input, path.slice(0, -1));
  const last = path.at(-1);
  if (typeof parent === "object" && parent !== null && last !== undefined) Reflect.set(parent, last, value);
}

function removeAt(input: unknown, path: readonly PropertyKey[]): void {
  const parent = valueAt(input, path.slice(0, -1));
  const last = path.at(-1);
  if (typeof parent === "object" && parent !== null && last !== undefined) Reflect.deleteProperty(parent, last);
}
