import type { z } from "zod";
import { AppError, type Cause } from "./error.ts";
import { kinds, type AnyObject, type KindFacts, type KindName, type ObjectOf } from "./kinds.ts";
import { mended, valueAt } from "./mend.ts";

/** An object with faults, all of them in one answer. */
export class Malformed extends AppError {
  /** What can be read of it: its faulty values stand there as they were given, or are left out. */
  readonly readable: AnyObject | undefined;

  constructor(kind: KindName, name: string, causes: readonly Cause[], readable: AnyObject | undefined) {
    super("Invalid", invalidText(kind, name, causes), { causes, subject: { name, group: kinds[kind].group, kind } });
    this.readable = readable;
  }
}

/**
 * Validates an object of a kind and fills in the defaults of its schema. Throws Malformed with one cause for each fault, all at once: of its form, and of
 * the rules between its fields. `input` is not changed.
 */
export function parseObject<Kind extends KindName>(kind: Kind, input: unknown): ObjectOf<Kind> {
  const facts: KindFacts = kinds[kind];
  const { success, data, error } = facts.schema.safeParse(input);
  const formFaults = success ? [] : causesOf(error, input);
  const isMendable = !success && error.issues.length <= MAX_TOLD;
  const object = success ? data : isMendable ? mended(facts.schema, input, withoutEchoes(error.issues)) : undefined;
  const faults = object === undefined ? formFaults : [...formFaults, ...withoutConsequences(ruleFaults(facts, object, input), formFaults)];
  if (faults.length > 0) throw new Malformed(kind, nameIn(input), faults, object as AnyObject | undefined); // the table pairs each kind with its schema
  return object as ObjectOf<Kind>; // as above
}

function ruleFaults(facts: KindFacts, object: unknown, input: unknown): Cause[] {
  const causes: Cause[] = [];
  facts.rules?.(object, (path, message, kind = "Invalid") => {
    if (causes.length < MAX_TOLD)
      causes.push(
        fault(fieldPath(path), message, {
          reason: `FieldValue${kind}`,
          value: kind === "Required" ? undefined : valueAt(input, path),
        }),
      );
  });
  return causes;
}

/** What a rule says of a field that is known to be faulty, of a part of it or of what it is a part of, may only follow from that. */
export function withoutConsequences(found: readonly Cause[], known: readonly Cause[]): Cause[] {
  const isIn = (field: string, other: string): boolean => field === other || field.startsWith(`${other}.`) || field.startsWith(`${other}[`);
  return found.filter(({ field }) => !known.some((other) => isIn(field, other.field) || isIn(other.field, field)));
}

/** Kubernetes' error for an object with faults: `Service "web" is invalid: spec.ports[0].port: Invalid value: 0: must be …`. */
export function invalid(kind: KindName, name: string, causes: readonly Cause[]): AppError {
  return new AppError("Invalid", invalidText(kind, name, causes), { causes, subject: { name, group: kinds[kind].group, kind } });
}

function invalidText(kind: KindName, name: string, causes: readonly Cause[]): string {
  const texts = causes.map(({ field, message }) => `${field}: ${message}`);
  const list = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  return `${kind} "${name}" is invalid: ${list}`;
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
  const causes = withoutEchoes(error.issues.slice(0, MAX_TOLD)).flatMap((issue) => causesOfIssue(issue, input));
  const untold = error.issues.length - MAX_TOLD;
  return untold > 0 ? [...causes, fault("<object>", `there are ${untold} more faults`)] : causes;
}

/** A text where a list should be would be told to be too long as well. */
function withoutEchoes(issues: readonly z.core.$ZodIssue[]): readonly z.core.$ZodIssue[] {
  const ofOtherType = new Set(issues.filter(({ code }) => code === "invalid_type").map(({ path }) => fieldPath(path)));
  return issues.filter(({ code, path }) => code === "invalid_type" || !ofOtherType.has(fieldPath(path)));
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
  if (issue.code === "invalid_key") return [fault(field, issue.issues[0]?.message ?? issue.message, { value: issue.path.at(-1) })];
  if ((issue.code === "too_small" || issue.code === "too_big") && typeof value === "number" && issue.message.startsWith("Too "))
    return [fault(field, boundText(issue), { value })];
  if (issue.code === "invalid_type" && issue.message.startsWith("Invalid input"))
    return [fault(field, `must be ${ARTICLES[issue.expected] ?? issue.expected}`, { value })];
  return [fault(field, issue.message, { value })];
}

function boundText(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig): string {
  return issue.code === "too_small"
    ? `must be greater than or equal to ${issue.minimum}`
    : `must be less than or equal to ${issue.maximum}`;
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

function nameIn(input: unknown): string {
  const name = valueAt(input, ["metadata", "name"]);
  return typeof name === "string" ? name : "";
}
