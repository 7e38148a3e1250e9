import { isJsonObject, type JsonObject } from "#server/api/json-body.ts";

/**
 * Sets of fields of an object, as trees. An element of a path is written as Kubernetes' FieldsV1 does it: `f:name` a field, `k:{"port":80}` the item of a
 * list with that key, `v:"x"` that value in a list. Pure; time in proportion to the sets.
 */
export interface FieldSet {
  /** The field itself is in the set, not only some below it. */
  readonly own: boolean;
  /** No child is empty. */
  readonly below: ReadonlyMap<string, FieldSet>;
}

export const NO_FIELDS: FieldSet = { own: false, below: new Map() };
export const LEAF: FieldSet = { own: true, below: new Map() };

export function isEmpty({ own, below }: FieldSet): boolean {
  return !own && below.size === 0;
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  const below = new Map(a.below);
  for (const [element, set] of b.below) {
    const other = below.get(element);
    below.set(element, other ? union(other, set) : set);
  }
  return { own: a.own || b.own, below };
}

export function minus(a: FieldSet, b: FieldSet): FieldSet {
  return combined(
    a,
    (set, element) => {
      const other = b.below.get(element);
      return other ? minus(set, other) : set;
    },
    a.own && !b.own,
  );
}

export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  return combined(
    a,
    (set, element) => {
      const other = b.below.get(element);
      return other ? intersection(set, other) : NO_FIELDS;
    },
    a.own && b.own,
  );
}

export function isSame(a: FieldSet, b: FieldSet): boolean {
  if (a.own !== b.own || a.below.size !== b.below.size) return false;
  for (const [element, set] of a.below) {
    const other = b.below.get(element);
    if (!other || !isSame(set, other)) return false;
  }
  return true;
}

function combined(a: FieldSet, child: (set: FieldSet, element: string) => FieldSet, own: boolean): FieldSet {
  const below = new Map<string, FieldSet>();
  for (const [element, set] of a.below) {
    const next = child(set, element);
    if (!isEmpty(next)) below.set(element, next);
  }
  return { own, below };
}

/** The paths of the set as people read them: `.spec.ports[port=80,protocol="TCP"].name`. */
export function* pathsOf({ own, below }: FieldSet, path = ""): Generator<string, void, undefined> {
  if (own) yield path;
  for (const [element, set] of sorted(below)) yield* pathsOf(set, path + shown(element));
}

function sorted(below: ReadonlyMap<string, FieldSet>): (readonly [string, FieldSet])[] {
  return [...below].sort(([a], [b]) => (a < b ? -1 : 1));
}

function shown(element: string): string {
  const text = element.slice(2);
  if (element.startsWith("f:")) return `.${text}`;
  if (element.startsWith("v:")) return `[=${text}]`;
  const key: unknown = element.startsWith("k:") ? JSON.parse(text) : undefined;
  if (!isJsonObject(key)) return `[${text}]`;
  return `[${Object.entries(key)
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join()}]`;
}

export function toFieldsV1({ own, below }: FieldSet): JsonObject {
  const fields: Record<string, unknown> = own && below.size > 0 ? { ".": {} } : {};
  for (const [element, set] of sorted(below)) fields[element] = toFieldsV1(set);
  return fields;
}

/** undefined when it is none. */
export function fromFieldsV1(fields: unknown): FieldSet | undefined {
  if (!isJsonObject(fields)) return undefined;
  const entries = Object.entries(fields);
  const below = new Map<string, FieldSet>();
  let own = entries.length === 0;
  for (const [name, inner] of entries) {
    if (name === ".") {
      own = true;
      continue;
    }
    const element = canonical(name);
    const set = fromFieldsV1(inner);
    if (element === undefined || !set) return undefined;
    if (!isEmpty(set)) below.set(element, set);
  }
  return { own, below };
}

/** One element is one text, however its JSON was written. */
function canonical(element: string): string | undefined {
  if (element.startsWith("f:") || /^i:\d{1,9}$/.test(element)) return element;
  const kind = element.slice(0, 2);
  if (kind !== "k:" && kind !== "v:") return undefined;
  try {
    const value: unknown = JSON.parse(element.slice(2));
    if (kind === "v:") return `v:${JSON.stringify(value)}`;
    return isJsonObject(value) ? keyElement(Object.entries(value)) : undefined;
  } catch {
    return undefined; // no JSON
  }
}

export function keyElement(key: readonly (readonly [name: string, value: unknown])[]): string {
  return `k:${JSON.stringify(Object.fromEntries(key.toSorted(([a], [b]) => (a < b ? -1 : 1))))}`;
}
