import type { z } from "zod";
import { kinds, type KindName } from "./kinds.ts";
import { keptWarningOf } from "./kept-only.ts";
import { fieldPath } from "./parse.ts";

/** What may be told of an object's fields, one by one, from its schema. Each as it stands in the object. */

/** Fields that the schema does not know: kept, but a warning says so, as they may be misspelt. */
export function unknownFields(kind: KindName, object: unknown): string[] {
  const found: string[] = [];
  walk(kinds[kind].schema, object, [], (path, field) => {
    if (field === undefined && !isKubernetesMetadata(path) && found.length < MAX_TOLD) found.push(fieldPath(path));
    return found.length < MAX_TOLD;
  });
  return found;
}

/** Of fields on which nobody acts, one warning each; of the same one in several items of a list, for the first. */
export function keptOnlyWarnings(kind: KindName, object: unknown): string[] {
  const fields = new Map<string, string>();
  walk(kinds[kind].schema, object, [], (path, field, value) => {
    const warning = field && keptWarningOf(field);
    if (warning === undefined || isNothing(value)) return true;
    const anyItem = path.filter((part) => typeof part !== "number").join(".");
    if (!fields.has(anyItem)) fields.set(anyItem, `${fieldPath(path)} ${warning}`);
    return false;
  });
  return [...fields.values()];
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0);
}

/** What Kubernetes writes into every object's metadata, and means nothing here. */
const KUBERNETES_METADATA: ReadonlySet<string> = new Set(["managedFields", "ownerReferences", "selfLink"]);
/** An object full of unknown fields need not be told in full. */
const MAX_TOLD = 50;

function isKubernetesMetadata(path: readonly PropertyKey[]): boolean {
  return path.length === 2 && path[0] === "metadata" && KUBERNETES_METADATA.has(String(path[1]));
}

/** `schema` undefined: there is no such field. Returns whether to look at what is in it; of one that is not there, at those beside it. */
type Visit = (path: readonly PropertyKey[], schema: z.core.$ZodType | undefined, value: unknown) => boolean;

function walk(schema: z.core.$ZodType, value: unknown, path: readonly PropertyKey[], visit: Visit): void {
  if (typeof value !== "object" || value === null) return;
  const { def } = schema._zod as { def: z.core.$ZodTypes["_zod"]["def"] }; // the same object, seen as the union of all schemas
  switch (def.type) {
    case "object":
      if (Array.isArray(value)) return;
      for (const [key, inner] of Object.entries(value)) {
        const known = Object.hasOwn(def.shape, key) ? def.shape[key] : undefined;
        const at = [...path, key];
        if (!known && !visit(at, undefined, inner)) return;
        if (known && visit(at, known, inner)) walk(known, inner, at, visit);
      }
      return;
    case "array":
      if (Array.isArray(value)) for (const [i, inner] of value.entries()) walk(def.element, inner, [...path, i], visit);
      return;
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
    case "nonoptional":
    case "readonly":
    case "catch":
      walk(def.innerType, value, path, visit);
      return;
    case "pipe":
      walk(def.in, value, path, visit);
      return;
    default:
      // Records have free keys, unions here are of plain values, and plain values have no fields.
      return;
  }
}
