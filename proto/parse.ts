import type { z } from "zod";
import { AppError, type Cause } from "./error.ts";
import { kinds, type KindName, type ObjectOf } from "./kinds.ts";

/**
 * Validates an object of a kind and fills in the defaults of its schema. Throws Invalid with one cause for each fault, all at once.
 * `input` is not changed.
 */
export function parseObject<Kind extends KindName>(kind: Kind, input: unknown): ObjectOf<Kind> {
  const result = kinds[kind].schema.safeParse(input);
  if (result.success) return result.data as ObjectOf<Kind>; // the table pairs each kind with its schema
  throw invalid(kind, nameIn(input), causesOf(result.error, input));
}

/** Kubernetes' error for an object with faults: `Service "web" is invalid: spec.ports[0].port: Invalid value: 0: must be …`. */
export function invalid(kind: KindName, name: string, causes: readonly Cause[]): AppError {
  const texts = causes.map(({ field, message }) => `${field}: ${message}`);
  const list = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  return new AppError("Invalid", `${kind} "${name}" is invalid: ${list}`, { causes, subject: { name, group: kinds[kind].group, kind } });
}

/** One fault in Kubernetes' words; `value` is what was given, where there was something. */
export function fault(field: string, message: string, options: { reason?: Cause["reason"]; value?: unknown } = {}): Cause {
  const reason = options.reason ?? "FieldValueInvalid";
  const shown = options.value !== undefined ? `: ${shorten(JSON.stringify(options.value))}` : "";
  return { field, reason, message: `${PHRASES[reason] ?? "Invalid value"}${shown}: ${message}` };
}

/** `name: Invalid value: "x;y": must be …`, one after the other. */
export function describeCauses(causes: readonly Cause[]): string {
  return causes.map(({ field, message }) => `${field}: ${message}`).join("; ");
}

/** Nobody reads more, and an answer of 3 MiB of faults would be 100 MB. */
const MAX_TOLD = 100;

/** The faults that zod found, each with its field path, the value that stands there, and what would be right; the first hundred. */
export function causesOf(error: z.ZodError, input: unknown): Cause[] {
  const causes = error.issues.slice(0, MAX_TOLD).flatMap((issue) => causesOfIssue(issue, input));
  const untold = error.issues.length - MAX_TOLD;
  return untold > 0 ? [...causes, fault("<object>", `there are ${untold} more faults`)] : causes;
}

function causesOfIssue(issue: z.core.$ZodIssue, input: unknown): Cause[] {
  if (issue.code === "unrecognized_keys")
    return issue.keys.slice(0, MAX_TOLD).map((key) =>
      fault(fieldPath([...issue.path, key]), "is not a field of this kind; check its spelling", {
        reason: "FieldValueForbidden",
      }),
    );
  const field = fieldPath(issue.path);
  const value = valueAt(input, issue.path);
  const given: unknown = issue.code === "custom" ? issue.params?.["reason"] : undefined;
  if (typeof given === "string")
    return [
      given === "FieldValueRequired"
        ? fault(field, issue.message, { reason: given })
        : fault(field, issue.message, { reason: given, value }),
    ];
  if (value === undefined)
    return [fault(field, issue.message.startsWith("Invalid input") ? "is needed" : issue.message, { reason: "FieldValueRequired" })];
  if (issue.code === "invalid_value")
    return [
      fault(field, `must be one of ${issue.values.map((one) => JSON.stringify(one)).join(", ")}`, {
        reason: "FieldValueNotSupported",
        value,
      }),
    ];
  if (issue.code === "invalid_type" && issue.message.startsWith("Invalid input"))
    return [fault(field, `must be ${ARTICLES[issue.expected] ?? issue.expected}`, { value })];
  return [fault(field, issue.message, { value })];
}

/** `spec.ports[0].port`, `metadata.labels[app]`. */
export function fieldPath(path: readonly PropertyKey[]): string {
  if (path.length === 0) return "<object>";
  return path.reduce<string>((text, part, i) => {
    if (typeof part === "number") return `${text}[${part}]`;
    const before = path[i - 1];
    if (before === "labels" || before === "annotations" || before === "selector") return `${text}[${String(part)}]`;
    return text === "" ? String(part) : `${text}.${String(part)}`;
  }, "");
}

const PHRASES: Readonly<Record<string, string>> = {
  FieldValueInvalid: "Invalid value",
  FieldValueRequired: "Required value",
  FieldValueDuplicate: "Duplicate value",
  FieldValueNotSupported: "Unsupported value",
  FieldValueForbidden: "Forbidden",
};

const ARTICLES: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};

function shorten(text: string): string {
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let at = input;
  for (const part of path) {
    if (typeof at !== "object" || at === null) return undefined;
    at = (at as Record<PropertyKey, unknown>)[part];
  }
  return at;
}

function nameIn(input: unknown): string {
  const name = valueAt(input, ["metadata", "name"]);
  return typeof name === "string" ? name : "";
}
