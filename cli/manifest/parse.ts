import { isNode, LineCounter, parseAllDocuments, type Document } from "yaml";
import { AppError, describeError } from "#proto/error.ts";
import { apiVersionOf, kindByGvk, kindNames, kinds, type KindName } from "#proto/kinds.ts";
import { fault } from "#proto/parse.ts";

/** One object of a file, as the user wrote it, with where it stands there. */
export interface Manifest {
  readonly kind: KindName;
  readonly name: string;
  /** undefined = not said. */
  readonly namespace: string | undefined;
  readonly value: Record<string, unknown>;
  readonly place: Place;
}

/** For messages: `web.yaml, document 2`, and the line of a field in it. */
export interface Place {
  readonly label: string;
  lineOf(field: string): number | undefined;
}

/** A document that cannot be used; the others of the file can. */
export interface Fault {
  readonly error: AppError;
  readonly place: Place;
}

export type Parsed = { readonly manifest: Manifest } | { readonly fault: Fault };

const MAX_DOCUMENTS = 5000;
/** Enough for people who save typing; an anchor bomb needs thousands. */
const MAX_ALIASES = 50;

/** Every object of a text: several documents, and the items of Lists. Never throws for what the text says. */
export function parseManifests(file: string, text: string): Parsed[] {
  const lines = new LineCounter();
  const whole: Place = { label: file, lineOf: () => undefined };
  let documents: readonly Document[];
  try {
    documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, logLevel: "error" });
  } catch (cause) {
    return [{ fault: { place: whole, error: new AppError("Invalid", `cannot be read as YAML: ${describeError(cause)}`, { cause }) } }];
  }
  if (documents.length > MAX_DOCUMENTS)
    return [
      { fault: { place: whole, error: new AppError("Invalid", `has ${documents.length} documents; ${MAX_DOCUMENTS} are the most`) } },
    ];
  return documents.flatMap((document, i) => objectsOf(document, { file, number: documents.length > 1 ? i + 1 : undefined, lines }));
}

interface Source {
  readonly file: string;
  readonly number: number | undefined;
  readonly lines: LineCounter;
}

function objectsOf(document: Document, source: Source): Parsed[] {
  const place = placeOf(document, source, []);
  if (document.errors.length > 0) {
    const faults = document.errors.slice(0, 10).map(({ message, pos }) => {
      const { line, col } = source.lines.linePos(pos[0]);
      return `line ${line}, column ${col}: ${message}`;
    });
    return [{ fault: { place, error: new AppError("Invalid", `is not valid YAML: ${faults.join("; ")}`) } }];
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    const hint = "write the repeated parts out: aliases (*name) that multiply are refused";
    return [{ fault: { place, error: new AppError("Invalid", `cannot be expanded: ${describeError(cause)}`, { cause, hint }) } }];
  }
  if (value === null || value === undefined) return []; // an empty document, as between two `---`
  if (!isList(value)) return [checked(value, place)];
  return value.items.map((item, i) => checked(item, placeOf(document, source, ["items", i])));
}

function isList(value: unknown): value is { readonly items: readonly unknown[] } {
  return (
    typeof value === "object" &&
    value !== null &&
    "kind" in value &&
    typeof value.kind === "string" &&
    value.kind.endsWith("List") &&
    "items" in value &&
    Array.isArray(value.items)
  );
}

function checked(value: unknown, place: Place): Parsed {
  const refuse = (error: AppError): Parsed => ({ fault: { error, place } });
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return refuse(new AppError("Invalid", "is not an object", { hint: "a manifest has apiVersion, kind and metadata" }));
  const manifest = withoutNulls(value) as Record<string, unknown>; // an object stays an object
  const kind = kindOf(manifest);
  if (kind instanceof AppError) return refuse(kind);
  const metadata = manifest["metadata"];
  const { name, namespace } = (typeof metadata === "object" && metadata !== null ? metadata : {}) as Record<string, unknown>;
  if (typeof name !== "string" || name === "")
    return refuse(
      new AppError("Invalid", `${kind} without a name`, {
        causes: [fault("metadata.name", "must be a string: the name of the object", { reason: "FieldValueRequired" })],
      }),
    );
  if (namespace !== undefined && typeof namespace !== "string")
    return refuse(
      new AppError("Invalid", `${kind} "${name}" is invalid`, {
        causes: [fault("metadata.namespace", "must be a string", { value: namespace })],
      }),
    );
  return { manifest: { kind, name, namespace: kinds[kind].namespaced ? namespace : undefined, value: manifest, place } };
}

function kindOf({ apiVersion, kind }: Record<string, unknown>): KindName | AppError {
  const missing = Object.entries({ apiVersion, kind }).filter(([, value]) => typeof value !== "string" || value === "");
  if (missing.length > 0 || typeof apiVersion !== "string" || typeof kind !== "string")
    return new AppError("Invalid", "the manifest does not say what it is", {
      causes: missing.map(([field]) => fault(field, "must be a string", { reason: "FieldValueRequired" })),
      hint: `known are ${knownKinds()}`,
    });
  const found = kindByGvk(apiVersion, kind);
  if (found) return found;
  const alike = kindNames.find((name) => kinds[name].kind === kind);
  if (alike)
    return new AppError("Invalid", `${kind} of apiVersion ${apiVersion} is unknown`, {
      causes: [fault("apiVersion", `must be ${apiVersionOf(kinds[alike])} for the kind ${kind}`, { value: apiVersion })],
    });
  return new AppError("Invalid", `unknown kind ${kind} of apiVersion ${apiVersion}`, {
    causes: [fault("kind", "is not a kind that Fairlead knows", { reason: "FieldValueNotSupported", value: kind })],
    hint: `known are ${knownKinds()}`,
  });
}

function knownKinds(): string {
  return kindNames.map((name) => `${kinds[name].kind} (${apiVersionOf(kinds[name])})`).join(", ");
}

/** `creationTimestamp: null`, as tools write it, says as much as its absence. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, one]) => one !== null)
      .map(([key, one]) => [key, withoutNulls(one)]),
  );
}

function placeOf(document: Document, { file, number, lines }: Source, base: readonly (string | number)[]): Place {
  const item = base[1];
  const label = [file, number === undefined ? "" : `document ${number}`, typeof item === "number" ? `item ${item + 1}` : ""];
  return {
    label: label.filter((part) => part !== "").join(", "),
    lineOf(field) {
      const path = [...base, ...pathParts(field)];
      for (let length = path.length; length > base.length; length--) {
        const node = document.getIn(path.slice(0, length), true);
        const start = isNode(node) ? node.range?.[0] : undefined;
        if (start !== undefined) return lines.linePos(start).line;
      }
      return undefined;
    },
  };
}

/** `spec.ports[0].port` and `metadata.labels[app.kubernetes.io/name]` as keys and indexes. */
function pathParts(field: string): (string | number)[] {
  return Array.from(field.matchAll(/\[([^\]]*)\]|[^.[\]]+/g), ([word, inBrackets]) =>
    inBrackets === undefined ? word : /^\d+$/.test(inBrackets) ? Number(inBrackets) : inBrackets,
  );
}
