import { parseAllDocuments } from "yaml";
import { AppError } from "#proto/error.ts";
import { keyOf, type ObjectKey } from "#proto/meta.ts";
import { parseObject } from "#proto/parse.ts";
import { LOCAL_CHECKS_ANNOTATION, type Check, type Workload } from "#proto/workload.ts";
import { marked } from "./mark.ts";

/** One Workload of a file, in the form that the server takes. */
export interface FileWorkload {
  readonly key: ObjectKey;
  readonly workload: Workload;
  /** exec checks: they stay on this host. */
  readonly localChecks: readonly Check[];
}

export const MAX_FILE_BYTES = 1 << 20;

/** The Workloads of a file, whose node is this one. Throws AppError for the first document that is wrong: a file counts whole or not at all. */
export function parseWorkloadFile(text: string, { file, nodeName }: { readonly file: string; readonly nodeName: string }): FileWorkload[] {
  if (Buffer.byteLength(text) > MAX_FILE_BYTES) throw new AppError("Invalid", `${file} is larger than ${MAX_FILE_BYTES} bytes`);
  const documents = parseAllDocuments(text);
  const found = new Map<ObjectKey, FileWorkload>();
  for (const document of Array.isArray(documents) ? documents : []) {
    const [fault] = document.errors;
    if (fault) throw new AppError("Invalid", `${file}: ${fault.message.split("\n")[0] ?? "is no YAML"}`, { cause: fault });
    const value: unknown = toPlain(document, file);
    if (value === null || value === undefined) continue;
    const one = workloadOf(value, { file, nodeName });
    if (found.has(one.key)) throw new AppError("Invalid", `${file}: the Workload ${one.key} stands there twice`);
    found.set(one.key, one);
  }
  return Array.from(found.values());
}

function workloadOf(value: unknown, { file, nodeName }: { readonly file: string; readonly nodeName: string }): FileWorkload {
  const parsed = parseObject("Workload", withDefaults(value, nodeName));
  const key = keyOf(parsed);
  if (parsed.spec.node !== nodeName)
    throw new AppError("Invalid", `${file}: the Workload ${key} is for the node ${parsed.spec.node}, and this one is ${nodeName}`, {
      hint: "leave spec.node out",
    });
  if (parsed.spec.ttl !== undefined)
    throw new AppError("Invalid", `${file}: the Workload ${key} has a ttl, and nobody would renew it`, {
      hint: "leave spec.ttl out, and give it a check",
    });
  const localChecks = parsed.spec.checks.filter(({ exec }) => exec !== undefined);
  const { name, namespace, labels } = parsed.metadata;
  const annotations = {
    ...parsed.metadata.annotations,
    ...(localChecks.length > 0 && { [LOCAL_CHECKS_ANNOTATION]: String(localChecks.length) }),
  };
  const spec = { ...parsed.spec, checks: parsed.spec.checks.filter(({ exec }) => exec === undefined) };
  const workload: Workload = {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name, namespace, ...(labels && { labels }), annotations },
    spec,
    status: {},
  };
  return { key, workload: marked(workload, file), localChecks };
}

/** Namespace and node may be left out in a file of this host. */
function withDefaults(value: unknown, nodeName: string): unknown {
  if (typeof value !== "object" || value === null) return value;
  const { metadata, spec } = value as { metadata?: unknown; spec?: unknown }; // checked by the schema
  return {
    ...value,
    metadata: typeof metadata === "object" ? { namespace: "default", ...metadata } : metadata,
    spec: typeof spec === "object" ? { node: nodeName, ...spec } : spec,
  };
}

function toPlain(document: { toJS: () => unknown }, file: string): unknown {
  try {
    return document.toJS();
  } catch (cause) {
    throw new AppError("Invalid", `${file}: too many aliases`, { cause }); // a "billion laughs" document
  }
}
