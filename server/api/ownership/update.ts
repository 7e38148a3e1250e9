import type { JsonObject } from "#server/api/json-body.ts";
import { compare, fieldsOf } from "./compare.ts";
import { isEmpty, isSame, minus, NO_FIELDS, union } from "./field-set.ts";
import { ownablePart, type Scope } from "./ownable.ts";
import { isSameWriter, type Owner, type Writer } from "./owners.ts";
import { rootOf } from "./parts.ts";

/** Whose fields are whose after a write that is no apply: the writer has what it changed, and nobody what is gone. Pure. */

export interface Update {
  readonly owners: readonly Owner[];
  readonly writer: Writer;
  readonly scope: Scope;
  /** undefined: the object is new. */
  readonly before: JsonObject | undefined;
  /** What the writer wrote. */
  readonly written: JsonObject;
  /** What stands there now: what a writer leaves out the server may keep or fill in, and that is no removal. */
  readonly stands: JsonObject;
  readonly time: string;
}

export function ownersAfterUpdate({ owners, writer, scope, before, written, stands, time }: Update): readonly Owner[] {
  const root = rootOf(scope.facts.merging);
  const was = before && ownablePart(before, scope);
  const { changed } = compare(was ?? {}, ownablePart(written, scope), root);
  const removed = was ? compare(was, ownablePart(stands, scope), root).removed : NO_FIELDS;
  const others = owners.filter((owner) => !isSameWriter(owner, writer));
  const mine = owners.find((owner) => isSameWriter(owner, writer));
  const fields = union(minus(mine?.fields ?? NO_FIELDS, removed), changed);
  const next: Owner[] = others.map((owner) => ({ ...owner, fields: minus(minus(owner.fields, changed), removed) }));
  if (isEmpty(fields)) return next;
  const isOld = mine && isEmpty(changed) && isSame(mine.fields, fields);
  return [...next, { ...writer, time: isOld ? mine.time : time, fields }];
}

/** Who had it all, but for the status, before anybody kept track. */
export function ownerBeforeTracking(
  object: JsonObject,
  { facts, apiVersion, time }: { readonly facts: Scope["facts"]; readonly apiVersion: string; readonly time: string },
): Owner {
  const fields = fieldsOf(ownablePart(object, { facts, subresource: undefined }), rootOf(facts.merging), "whole");
  return { manager: "before-first-apply", operation: "Update", apiVersion, time, fields: { ...fields, own: false } };
}
