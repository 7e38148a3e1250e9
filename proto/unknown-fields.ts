import type { z } from "zod";
import { kinds, type KindName } from "./kinds.ts";
import { fieldPath } from "./parse.ts";

/** Fields of an object that its schema does not know: kept, but a warning says so, as they may be misspelt. Sorted as they stand. */
export function unknownFields(kind: KindName, object: unknown): string[] {
  const found: string[] = [];
  walk(kinds[kind].schema, object, [], found);
  return found;
}

/** What Kubernetes writes into every object's metadata, and means nothing here. */
const KUBERNETES_METADATA: ReadonlySet<string> = new Set(["managedFields", "ownerReferences", "selfLink"]);
/** An object full of unknown fields need not be told in full. */
const MAX_TOLD = 50;

function walk(schema: z.core.$ZodType, value: unknown, path: readonly PropertyKey[], found: string[]): void {
  if (found.length >= MAX_TOLD || typeof value !== "object" || value === null) return;
  const { def } = schema._zod as { def: z.core.$ZodTypes["_zod"]["def"] }; // the same object, seen as the union of all schemas
  switch (def.type) {
    case "object":
      if (Array.isArray(value)) return;
      for (const [key, inner] of Object.entries(value)) {
        const known = Object.hasOwn(def.shape, key) ? def.shape[key] : undefined;
        if (known) walk(known, inner, [...path, key], found);
        else if (!(path.length === 1 && path[0] === "metadata" && KUBERNETES_METADATA.has(key)) && found.length < MAX_TOLD)
          found.push(fieldPath([...path, key]));
      }
      return;
    case "array":
      if (Array.isArray(value)) for (const [i, inner] of value.entries()) walk(def.element, inner, [...path, i], found);
      return;
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
    case "nonoptional":
    case "readonly":
    case "catch":
      walk(def.innerType, value, path, found);
      return;
    case "pipe":
      walk(def.in, value, path, found);
      return;
    default:
      // Records have free keys, unions here are of plain values, and plain values have no fields.
      return;
  }
}
