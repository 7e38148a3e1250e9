import { AppError, type Cause } from "#proto/error.ts";
import { intersection, pathsOf, type FieldSet } from "./field-set.ts";
import type { Owner } from "./owners.ts";

/** A field that an apply would change, and that is somebody else's. */
export interface Conflict {
  readonly owner: Owner;
  /** `.spec.ports[port=80,protocol="TCP"].name` */
  readonly path: string;
}

/** Nobody reads more, and an answer has bounds. */
const MAX_TOLD = 100;

export function conflictsOf(others: readonly Owner[], changed: FieldSet): readonly Conflict[] {
  const conflicts: Conflict[] = [];
  for (const owner of others)
    for (const path of pathsOf(intersection(owner.fields, changed))) {
      conflicts.push({ owner, path });
      if (conflicts.length >= MAX_TOLD) return conflicts;
    }
  return conflicts;
}

/** In Kubernetes' words, which kubectl shows as they are. */
export function conflictError(conflicts: readonly Conflict[]): AppError {
  const causes = conflicts.map(({ owner, path }): Cause => ({
    reason: "FieldManagerConflict",
    message: `conflict with ${shown(owner)}`,
    field: path,
  }));
  return new AppError("Conflict", `Apply failed with ${listed(conflicts)}`, { causes });
}

function listed(conflicts: readonly Conflict[]): string {
  const [first] = conflicts;
  if (first && conflicts.length === 1) return `1 conflict: conflict with ${shown(first.owner)}: ${first.path}`;
  const byOwner = Map.groupBy(conflicts, ({ owner }) => shown(owner));
  const lines = [...byOwner]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([owner, own]) => [`conflicts with ${owner}:`, ...own.map(({ path }) => `- ${path}`)]);
  return `${conflicts.length} conflicts: ${lines.join("\n")}`;
}

function shown({ manager, operation, apiVersion, subresource }: Owner): string {
  const name = `${JSON.stringify(manager)}${subresource ? ` with subresource "${subresource}"` : ""}`;
  return operation === "Update" ? `${name} using ${apiVersion}` : name;
}
