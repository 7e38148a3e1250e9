import { z } from "zod";
import { AppError, type Cause } from "#proto/error.ts";
import type { ObjectMeta } from "#proto/meta.ts";
import { causesOf } from "#proto/parse.ts";
import { isJsonObject } from "#server/api/json-body.ts";
import { fromFieldsV1, isEmpty, toFieldsV1, union, type FieldSet } from "./field-set.ts";

/** Who has which fields: metadata.managedFields, read and written. Pure. */

/** A writer in one of its ways: what it applies and what it otherwise changes are kept apart. */
export interface Writer {
  readonly manager: string;
  readonly operation: "Apply" | "Update";
  readonly apiVersion: string;
  readonly subresource?: "status" | undefined;
}

export interface Owner extends Writer {
  /** RFC 3339, of the last change of its fields or values. */
  readonly time: string;
  readonly fields: FieldSet;
}

export type ManagedFields = NonNullable<ObjectMeta["managedFields"]>;

/** As in Kubernetes: of more the oldest become one. */
const MAX_UPDATERS = 10;
const ANCIENT = "ancient-changes";

export const MAX_MANAGER_BYTES = 128;
const Entry = z.looseObject({
  manager: z.string().max(MAX_MANAGER_BYTES, "may not be more than 128 bytes"),
  operation: z.enum(["Apply", "Update"]),
  apiVersion: z.string().max(256),
  time: z.string().max(64).optional(),
  subresource: z.enum(["", "status"]).optional(),
  fieldsType: z.literal("FieldsV1"),
  fieldsV1: z.unknown().optional(),
});

/** Throws BadRequest. */
export function readOwners(managedFields: unknown): readonly Owner[] {
  if (managedFields === undefined) return [];
  const { data, error } = z.array(Entry).max(64).safeParse(managedFields);
  if (!data) throw refused(causesOf(error, managedFields).map((cause) => ({ ...cause, field: `metadata.managedFields${cause.field}` })));
  return data.flatMap(({ manager, operation, apiVersion, time = "", subresource, fieldsV1 = {} }, i) => {
    const fields = fromFieldsV1(fieldsV1);
    if (!fields)
      throw refused([{ field: `metadata.managedFields[${i}].fieldsV1`, reason: "FieldValueInvalid", message: "is no set of fields" }]);
    const owner: Owner = { manager, operation, apiVersion, time, fields: { ...fields, own: false } };
    return fields.below.size === 0 ? [] : [subresource === "status" ? { ...owner, subresource } : owner];
  });
}

function refused(causes: readonly Cause[]): AppError {
  const [first] = causes;
  return new AppError("BadRequest", `${first?.field ?? "metadata.managedFields"}: ${first?.message ?? "is invalid"}`, { causes });
}

export function isSameWriter(a: Writer, b: Writer): boolean {
  return a.manager === b.manager && a.operation === b.operation && a.apiVersion === b.apiVersion && a.subresource === b.subresource;
}

/** Sorted as Kubernetes does it: what is applied first, then by time. */
export function writtenOwners(owners: readonly Owner[]): ManagedFields {
  const order = ({ operation, time, manager, subresource }: Owner): string => `${operation} ${time} ${manager} ${subresource ?? ""}`;
  return bounded(owners.filter(({ fields }) => !isEmpty(fields)))
    .toSorted((a, b) => (order(a) < order(b) ? -1 : 1))
    .map(({ manager, operation, apiVersion, subresource, time, fields }) => ({
      manager,
      operation,
      apiVersion,
      ...(time !== "" && { time }),
      fieldsType: "FieldsV1",
      fieldsV1: toFieldsV1(fields),
      ...(subresource && { subresource }),
    }));
}

function bounded(owners: readonly Owner[]): readonly Owner[] {
  const updaters = owners.filter(({ operation }) => operation === "Update");
  if (updaters.length <= MAX_UPDATERS) return owners;
  const oldestFirst = updaters.toSorted(
    (a, b) => Number(b.manager === ANCIENT) - Number(a.manager === ANCIENT) || (a.time < b.time ? -1 : 1),
  );
  const [first, ...others] = oldestFirst.slice(0, updaters.length - MAX_UPDATERS + 1);
  if (!first) return owners;
  const merged = others.reduce((all, { fields }) => union(all, fields), first.fields);
  const gone = new Set<Owner>([first, ...others]);
  const time = others.at(-1)?.time ?? first.time;
  const { subresource: _any, ...base } = first;
  return [...owners.filter((owner) => !gone.has(owner)), { ...base, manager: ANCIENT, time, fields: merged }];
}

/** `[{}]`: how a client asks that nobody keeps track any more (Kubernetes, "Server-Side Apply", "Clearing managedFields"). */
export function isReset(managedFields: unknown): boolean {
  const only: unknown = Array.isArray(managedFields) && managedFields.length === 1 ? managedFields[0] : undefined;
  return isJsonObject(only) && Object.keys(only).length === 0;
}
