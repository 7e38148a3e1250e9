import { isDeepStrictEqual } from "node:util";
import type { AnyObject } from "#proto/kinds.ts";
import type { StoreKey } from "./store.ts";

/** Objects to the JSON text that stands in the database, and back. */

/** The text of an object as of a revision. */
export function encode(object: AnyObject, revision: number): string {
  return JSON.stringify({ ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } });
}

/** The frozen object of a text that the store wrote. */
export function decode(text: string): AnyObject {
  const object = JSON.parse(text) as AnyObject; // only validated objects are written
  freeze(object);
  return object;
}

export function keyOf(object: AnyObject): StoreKey {
  return { kind: object.kind, namespace: object.metadata.namespace ?? "", name: object.metadata.name };
}

/** Whether writing `object` over `text`, which has this revision, would change anything but the resourceVersion. */
export function isUnchanged(object: AnyObject, text: string, revision: number): boolean {
  const next = encode(object, revision);
  return next === text || isDeepStrictEqual(JSON.parse(next), JSON.parse(text));
}

function freeze(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  Object.freeze(value);
  if (Array.isArray(value)) for (const item of value) freeze(item);
  else for (const key in value) freeze((value as Record<string, unknown>)[key]);
}
