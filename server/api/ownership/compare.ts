import { isDeepStrictEqual } from "node:util";
import { LEAF, NO_FIELDS, type FieldSet } from "./field-set.ts";
import { partAt, partsOf, type Place } from "./parts.ts";

/** What an object says, and what one says differently from another. Pure. */

/** The fields of a value. `whole`: with the objects and lists around them, as somebody has who made them. */
export function fieldsOf(value: unknown, place: Place, extent: "said" | "whole"): FieldSet {
  const parts = partsOf(value, place);
  if (!parts || parts.size === 0) return LEAF;
  const below = new Map<string, FieldSet>();
  for (const [element, part] of parts) {
    const set = fieldsOf(part, partAt(element, place), extent);
    // An item is somebody's also where all its fields are others'.
    below.set(element, element.startsWith("f:") ? set : { ...set, own: true });
  }
  return { own: extent === "whole", below };
}

export interface Difference {
  /** Added, or of another value. */
  readonly changed: FieldSet;
  readonly removed: FieldSet;
}

const SAME: Difference = { changed: NO_FIELDS, removed: NO_FIELDS };

export function compare(before: unknown, after: unknown, place: Place): Difference {
  if (after === undefined) return before === undefined ? SAME : { changed: NO_FIELDS, removed: fieldsOf(before, place, "whole") };
  if (before === undefined) return { changed: fieldsOf(after, place, "whole"), removed: NO_FIELDS };
  const was = partsOf(before, place);
  const is = partsOf(after, place);
  if (!was || !is || Array.isArray(before) !== Array.isArray(after)) {
    if (isDeepStrictEqual(before, after)) return SAME;
    const { below } = fieldsOf(after, place, "whole");
    return { changed: { own: true, below }, removed: { own: false, below: fieldsOf(before, place, "whole").below } };
  }
  const changed = new Map<string, FieldSet>();
  const removed = new Map<string, FieldSet>();
  for (const element of new Set([...was.keys(), ...is.keys()])) {
    const part = compare(was.get(element), is.get(element), partAt(element, place));
    if (part.changed !== NO_FIELDS) changed.set(element, part.changed);
    if (part.removed !== NO_FIELDS) removed.set(element, part.removed);
  }
  return { changed: setOf(changed), removed: setOf(removed) };
}

/** The one empty set, so that it is known by itself. */
function setOf(below: ReadonlyMap<string, FieldSet>): FieldSet {
  return below.size === 0 ? NO_FIELDS : { own: false, below };
}
