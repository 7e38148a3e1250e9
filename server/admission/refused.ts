import type { AppError, Cause } from "#proto/error.ts";
import type { AnyObject, KindName } from "#proto/kinds.ts";
import { invalid, withoutConsequences } from "#proto/parse.ts";

/** `faults` begins with those that are `known` from the object's form: what rules say of the same fields only follows from these. */
export function refused(kind: KindName, { metadata }: AnyObject, faults: readonly Cause[], known: readonly Cause[]): AppError {
  return invalid(kind, metadata.name, [...known, ...withoutConsequences(faults.slice(known.length), known)]);
}
