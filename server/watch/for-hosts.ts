import { withoutManagedFields, type AnyObject } from "#proto/kinds.ts";
import { Check, type Workload } from "#proto/workload.ts";

/**
 * An object as hosts get it. Whose fields are whose is nothing to them, and would double what they are sent; checks have their defaults, which the store does
 * not (server/api/draft.ts).
 */
export function forHosts(object: AnyObject): AnyObject {
  const shown = object.metadata.managedFields === undefined ? object : withoutManagedFields(object);
  return shown.kind === "Workload" && shown.spec.checks.length > 0 ? withDefaults(shown) : shown;
}

function withDefaults(workload: Workload): Workload {
  return { ...workload, spec: { ...workload.spec, checks: workload.spec.checks.map((check) => Check.parse(check)) } };
}
