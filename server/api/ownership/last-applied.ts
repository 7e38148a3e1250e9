import { isJsonObject, parseJsonBody, type JsonObject } from "#server/api/json-body.ts";
import { compare, fieldsOf } from "./compare.ts";
import { minus, NO_FIELDS, type FieldSet } from "./field-set.ts";
import { ownablePart, type Scope } from "./ownable.ts";
import { rootOf } from "./parts.ts";

/** kubectl's client-side apply notes in an annotation what it applied last. Who goes over to server-side apply takes over from there. Pure. */

const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/** What client-side apply said and still stands so: kubectl's own, whoever is written down for it. */
export function lastAppliedFields(live: JsonObject, scope: Scope): FieldSet {
  const text = annotationsOf(live)?.[LAST_APPLIED];
  const said = typeof text === "string" ? parsed(text) : undefined;
  if (!said) return NO_FIELDS;
  const root = rootOf(scope.facts.merging);
  const part = ownablePart(said, scope);
  return minus(fieldsOf(part, root, "whole"), compare(ownablePart(live, scope), part, root).changed);
}

/** Where there is such a note it stays true, so that client-side apply can go on from it. */
export function withLastApplied(object: JsonObject, config: JsonObject): JsonObject {
  const annotations = annotationsOf(object);
  const { metadata } = object;
  if (annotations?.[LAST_APPLIED] === undefined || !isJsonObject(metadata)) return object;
  return {
    ...object,
    metadata: { ...metadata, annotations: { ...annotations, [LAST_APPLIED]: `${asGoWrites(withoutNote(config))}\n` } },
  };
}

/** To the letter, or client-side apply would take it for another note: keys sorted, and what could end a script escaped. */
function asGoWrites(value: unknown): string {
  const sorted = (_key: string, inner: unknown): unknown =>
    isJsonObject(inner) ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1))) : inner;
  return JSON.stringify(value, sorted).replaceAll(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function withoutNote(config: JsonObject): JsonObject {
  const { metadata } = config;
  const { [LAST_APPLIED]: _note, ...annotations } = annotationsOf(config) ?? {};
  return { ...config, metadata: { ...(isJsonObject(metadata) ? metadata : {}), annotations } };
}

function annotationsOf({ metadata }: JsonObject): JsonObject | undefined {
  const annotations = isJsonObject(metadata) ? metadata["annotations"] : undefined;
  return isJsonObject(annotations) ? annotations : undefined;
}

function parsed(text: string): JsonObject | undefined {
  try {
    const value = parseJsonBody(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined; // somebody else wrote it
  }
}
