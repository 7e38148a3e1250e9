import { z } from "zod";
import { AppError, type Cause } from "#proto/error.ts";
import type { KindFacts } from "#proto/kinds.ts";
import { fault } from "#proto/parse.ts";
import { parseFieldSelector, parseLabelSelector, type FieldRequirement, type LabelRequirement } from "#proto/selector.ts";
import { MAX_MANAGER_BYTES } from "./ownership/owners.ts";
import type { IncludeObject } from "./table.ts";

/** The query parameters of Kubernetes' verbs. Unknown ones are ignored, as clients send `timeout`, `pretty` and others. */

/** Of a parameter given twice the first counts. */
const text = z.preprocess((value) => (Array.isArray(value) ? (value as unknown[])[0] : value), z.string().max(8192).optional());
const flag = text.transform((value) => value !== undefined && value !== "false" && value !== "0");
const count = (what: string) =>
  text.transform((value, context) => {
    if (value === undefined || value === "") return undefined;
    if (/^\d{1,12}$/.test(value)) return Number(value);
    context.addIssue({ code: "custom", message: `${what} must be a whole number` });
    return z.NEVER;
  });

/** Of Tables. */
const includeObject = text.transform((value = "Metadata", context): IncludeObject => {
  if (value === "None" || value === "Metadata" || value === "Object") return value;
  context.addIssue({ code: "custom", message: 'includeObject must be "None", "Metadata" or "Object"' });
  return z.NEVER;
});
export const ReadQuery = z.object({ includeObject });

export const ListQuery = z.object({
  labelSelector: text,
  fieldSelector: text,
  limit: count("limit"),
  continue: text,
  resourceVersion: text,
  resourceVersionMatch: text,
  watch: flag,
  allowWatchBookmarks: flag,
  sendInitialEvents: text.transform((value) => (value === undefined ? undefined : value !== "false" && value !== "0")),
  timeoutSeconds: count("timeoutSeconds"),
  includeObject,
});
export type ListQuery = z.output<typeof ListQuery>;

export const WriteQuery = z.object({
  dryRun: z.preprocess((value) => (Array.isArray(value) || value === undefined ? value : [value]), z.array(z.string()).optional()),
  fieldValidation: text,
  fieldManager: text,
  force: text,
});
export type WriteQuery = z.output<typeof WriteQuery>;

export const DeleteQuery = z.object({
  dryRun: WriteQuery.shape.dryRun,
  gracePeriodSeconds: count("gracePeriodSeconds"),
});

export const DeleteBody = z
  .looseObject({
    dryRun: z.array(z.string()).nullish(),
    gracePeriodSeconds: z.int().min(0, "must not be negative").nullish(),
    preconditions: z.looseObject({ uid: z.string().nullish(), resourceVersion: z.string().nullish() }).nullish(),
  })
  .optional();

export interface DeleteOptions {
  readonly dryRun: boolean;
  readonly gracePeriodSeconds?: number | undefined;
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

/** The query and the body of a DELETE say the same things; the body counts first. */
export function deleteOptions(query: z.output<typeof DeleteQuery>, body: z.output<typeof DeleteBody>): DeleteOptions {
  return {
    dryRun: isDryRun([...(query.dryRun ?? []), ...(body?.dryRun ?? [])]),
    gracePeriodSeconds: body?.gracePeriodSeconds ?? query.gracePeriodSeconds,
    uid: body?.preconditions?.uid ?? undefined,
    resourceVersion: body?.preconditions?.resourceVersion ?? undefined,
  };
}

export type FieldValidation = "Strict" | "Warn" | "Ignore";

export interface WriteOptions {
  readonly dryRun: boolean;
  readonly fieldValidation: FieldValidation;
  /** By which name the writer has its fields. */
  readonly fieldManager?: string | undefined;
}

export function writeOptions({ dryRun, fieldValidation, fieldManager, force }: WriteQuery): WriteOptions {
  if (force !== undefined) throw invalidOption("force", "FieldValueForbidden", "may not be specified for non-apply patch");
  return { ...commonOptions({ dryRun, fieldValidation }), fieldManager: checkedManager(fieldManager) };
}

export interface ApplyOptions extends WriteOptions {
  readonly fieldManager: string;
  readonly force: boolean;
}

/** Of a server-side apply. */
export function applyOptions({ dryRun, fieldValidation, fieldManager, force }: WriteQuery): ApplyOptions {
  const manager = checkedManager(fieldManager);
  if (manager === undefined) throw invalidOption("fieldManager", "FieldValueRequired", "is required for apply patch");
  return { ...commonOptions({ dryRun, fieldValidation }), fieldManager: manager, force: force === "true" || force === "1" };
}

function commonOptions({ dryRun, fieldValidation }: Pick<WriteQuery, "dryRun" | "fieldValidation">) {
  return { dryRun: isDryRun(dryRun ?? []), fieldValidation: parseFieldValidation(fieldValidation) };
}

/** undefined for none. */
function checkedManager(name = ""): string | undefined {
  if (Buffer.byteLength(name) > MAX_MANAGER_BYTES)
    throw invalidOption("fieldManager", "FieldValueInvalid", `may not be more than ${MAX_MANAGER_BYTES} bytes`);
  if (/\p{C}/u.test(name)) throw invalidOption("fieldManager", "FieldValueInvalid", "should only contain printable characters");
  return name === "" ? undefined : name;
}

function invalidOption(field: string, reason: Cause["reason"], why: string): AppError {
  const cause = fault(field, why, { reason });
  return new AppError("Invalid", `PatchOptions.meta.k8s.io "" is invalid: ${field}: ${cause.message}`, { causes: [cause] });
}

export interface Selection {
  readonly labelSelector: readonly LabelRequirement[];
  readonly fieldSelector: readonly FieldRequirement[];
}

/** Throws BadRequest for a field that objects of this kind cannot be selected by. */
export function selectionOf(
  { kind, selectableFields }: Pick<KindFacts, "kind" | "selectableFields">,
  query: Pick<ListQuery, "labelSelector" | "fieldSelector">,
): Selection {
  const fieldSelector = parseFieldSelector(query.fieldSelector ?? "");
  const selectable = ["metadata.name", "metadata.namespace", ...selectableFields];
  for (const { field } of fieldSelector)
    if (!selectable.includes(field))
      throw new AppError("BadRequest", `field label not supported: ${field}`, {
        hint: `${kind} can be selected by ${selectable.join(", ")}`,
      });
  return { labelSelector: parseLabelSelector(query.labelSelector ?? ""), fieldSelector };
}

/** A resourceVersion as a number; undefined for none, which means the newest. Throws BadRequest. */
export function parseRevision(value: string | undefined): number | undefined {
  if (value === undefined || value === "") return undefined;
  if (!/^\d{1,15}$/.test(value))
    throw new AppError("BadRequest", `resourceVersion: Invalid value: ${JSON.stringify(value.slice(0, 64))}: must be a whole number`, {
      causes: [{ field: "resourceVersion", reason: "FieldValueInvalid", message: "must be a whole number" }],
    });
  return Number(value);
}

function isDryRun(values: readonly string[]): boolean {
  const wrong = values.find((value) => value !== "All" && value !== "");
  if (wrong !== undefined)
    throw new AppError("Invalid", `dryRun: Unsupported value: ${JSON.stringify(wrong.slice(0, 64))}: supported values: "All"`, {
      causes: [{ field: "dryRun", reason: "FieldValueNotSupported", message: 'supported values: "All"' }],
    });
  return values.includes("All");
}

function parseFieldValidation(value = ""): FieldValidation {
  if (value === "") return "Warn";
  if (value === "Strict" || value === "Warn" || value === "Ignore") return value;
  throw new AppError(
    "Invalid",
    `fieldValidation: Unsupported value: ${JSON.stringify(value.slice(0, 64))}: supported values: "Ignore", "Strict", "Warn"`,
    { causes: [{ field: "fieldValidation", reason: "FieldValueNotSupported", message: 'supported values: "Ignore", "Strict", "Warn"' }] },
  );
}
