import { AppError } from "./error.ts";
import type { Labels } from "./meta.ts";

/** Label and field selectors, in the grammar of Kubernetes' `labelSelector` and `fieldSelector` query parameters. */

export type LabelRequirement =
  | { readonly key: string; readonly operator: "In" | "NotIn"; readonly values: ReadonlySet<string> }
  | { readonly key: string; readonly operator: "Exists" | "DoesNotExist" };

export interface FieldRequirement {
  readonly field: string;
  readonly equal: boolean;
  readonly value: string;
}

const KEY = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/** `app=web,tier!=db,env in (a,b),!legacy,managed`. Throws BadRequest. The empty text selects everything. */
export function parseLabelSelector(text: string): LabelRequirement[] {
  return splitOutsideParentheses(text).map((part) => {
    const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(part);
    if (set)
      return requirement(
        part,
        set[1],
        set[2] === "in" ? "In" : "NotIn",
        (set[3] ?? "").split(",").map((value) => value.trim()),
      );
    const pair = /^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$/.exec(part);
    if (pair) return requirement(part, pair[1], pair[2] === "!=" ? "NotIn" : "In", [pair[3] ?? ""]);
    const absent = /^!\s*(\S+)$/.exec(part);
    return absent ? requirement(part, absent[1], "DoesNotExist", []) : requirement(part, part, "Exists", []);
  });
}

export function matchesLabels(requirements: readonly LabelRequirement[], labels: Labels | undefined): boolean {
  return requirements.every((one) => {
    const value = labelOf(labels, one.key);
    if (!("values" in one)) return (value !== undefined) === (one.operator === "Exists");
    const within = value !== undefined && one.values.has(value);
    return one.operator === "In" ? within : !within;
  });
}

/** A Service's `spec.selector` (equality only). An empty selector matches nothing, as it does in a Service. */
export function matchesSelector(selector: Labels | undefined, labels: Labels | undefined): boolean {
  const pairs = Object.entries(selector ?? {});
  return pairs.length > 0 && pairs.every(([key, value]) => labelOf(labels, key) === value);
}

/** Labels of its own: `constructor` is a name that a label may have, and every object inherits. */
function labelOf(labels: Labels | undefined, key: string): string | undefined {
  return labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
}

/** `metadata.name=web,spec.clusterIP!=None`. Throws BadRequest. */
export function parseFieldSelector(text: string): FieldRequirement[] {
  if (text === "") return [];
  return text.split(",").map((part) => {
    const match = /^\s*([A-Za-z][A-Za-z0-9.]*)\s*(==|=|!=)\s*(.*?)\s*$/.exec(part);
    if (!match)
      throw new AppError("BadRequest", `unable to parse field selector: ${part}`, {
        hint: "write it like metadata.name=web or spec.type!=ClusterIP",
      });
    return { field: match[1] ?? "", equal: match[2] !== "!=", value: match[3] ?? "" };
  });
}

/** Fields are read by their path; what is absent counts as the empty string. */
export function matchesFields(requirements: readonly FieldRequirement[], object: object): boolean {
  return requirements.every(({ field, equal, value }) => {
    let at: unknown = object;
    for (const part of field.split("."))
      at = typeof at === "object" && at !== null && Object.hasOwn(at, part) ? (at as Record<string, unknown>)[part] : undefined;
    const found = typeof at === "string" || typeof at === "number" || typeof at === "boolean" ? String(at) : "";
    return (found === value) === equal;
  });
}

function requirement(part: string, key = "", operator: LabelRequirement["operator"], values: readonly string[]): LabelRequirement {
  if (!KEY.test(key) || !values.every((value) => VALUE.test(value)))
    throw new AppError("BadRequest", `unable to parse requirement: ${part}`, {
      hint: "write it like app=web, tier!=db, env in (a,b), managed or !managed",
    });
  return operator === "In" || operator === "NotIn" ? { key, operator, values: new Set(values) } : { key, operator };
}

function splitOutsideParentheses(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    const char = text[i];
    if (char === "(") depth++;
    else if (char === ")") depth--;
    else if (char === undefined || (char === "," && depth === 0)) {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  return parts.length === 1 && parts[0] === "" ? [] : parts;
}
