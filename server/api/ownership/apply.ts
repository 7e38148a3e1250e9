import { AppError } from "#proto/error.ts";
import { isJsonObject, type JsonObject } from "#server/api/json-body.ts";
import { compare, fieldsOf } from "./compare.ts";
import { conflictsOf, type Conflict } from "./conflict.ts";
import { isEmpty, isSame, minus, NO_FIELDS, union, type FieldSet } from "./field-set.ts";
import { lastAppliedFields, withLastApplied } from "./last-applied.ts";
import { merged, without } from "./merge.ts";
import { ownablePart, withOwnablePart, type Scope } from "./ownable.ts";
import { isSameWriter, type Owner, type Writer } from "./owners.ts";
import { listFault, rootOf } from "./parts.ts";

/**
 * Server-side apply: an object with all that a configuration says, and without what the same manager applied before and says no more. Rules: Kubernetes,
 * "Server-Side Apply". Pure; time in proportion to the object, the configuration and the owners.
 */
export interface Apply {
  readonly owners: readonly Owner[];
  readonly writer: Writer;
  readonly scope: Scope;
  /** undefined: there is none yet. */
  readonly live: JsonObject | undefined;
  readonly config: JsonObject;
  /** Takes over what others have, instead of a conflict. */
  readonly force: boolean;
  readonly time: string;
}

export interface Applied {
  readonly object: JsonObject;
  readonly owners: readonly Owner[];
}

/** The manager of kubectl, which takes over from its own client-side apply. */
const KUBECTL = "kubectl";

/** What became of it, or the conflicts for which it did not. Throws BadRequest for lists whose items cannot be told apart. */
export function applied(apply: Apply): Applied | { readonly conflicts: readonly Conflict[] } {
  const { owners, writer, scope, live, config, force, time } = apply;
  const root = rootOf(scope.facts.merging);
  const said = ownablePart(config, scope);
  const fault = listFault(said, root);
  if (fault !== undefined) throw new AppError("BadRequest", `failed to create typed patch object: ${fault}`);
  const was = live && ownablePart(live, scope);
  const mine = owners.find((owner) => isSameWriter(owner, writer));
  const others = owners.filter((owner) => owner !== mine);
  const fields: FieldSet = { ...fieldsOf(said, root, "said"), own: false };
  const kept = others.reduce((all, owner) => union(all, owner.fields), fields);
  const part = without(merged(was, said, root), mine?.fields ?? NO_FIELDS, kept, root);
  const next = withOwnablePart(live ?? config, isJsonObject(part) ? part : {}, scope);
  const object = writer.manager === KUBECTL ? withLastApplied(next, config) : next;

  const { changed, removed } = compare(was ?? {}, part, root);
  const takesOver = writer.manager === KUBECTL && live ? lastAppliedFields(live, scope) : NO_FIELDS;
  const taken = force ? NO_FIELDS : minus(changed, takesOver);
  const conflicts = conflictsOf(others, taken);
  if (conflicts.length > 0) return { conflicts };
  const rest = others.map((owner) => ({ ...owner, fields: minus(minus(owner.fields, changed), removed) }));
  if (isEmpty(fields)) return { object, owners: rest };
  const isOld = mine && isEmpty(changed) && isEmpty(removed) && isSame(mine.fields, fields);
  return { object, owners: [...rest, { ...writer, time: isOld ? mine.time : time, fields }] };
}
