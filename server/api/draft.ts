import { randomInt, randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { AppError } from "#proto/error.ts";
import { apiVersionOf, kinds, type AnyObject, type KindName } from "#proto/kinds.ts";
import { fault, invalid, parseObject } from "#proto/parse.ts";
import type { Service } from "#proto/service.ts";
import { withoutZeros } from "#proto/service-rules.ts";
import { isHollow, isJsonObject, withoutNulls, type JsonObject } from "./json-body.ts";

/** What a client sent, made into what may stand in the store: the server's own fields come from the server. Pure but for uid and clock. */

/** An object as it came: of the right kind and place, not yet validated. */
export interface Draft {
  readonly body: JsonObject;
  readonly metadata: JsonObject;
}

export interface Place {
  readonly kind: KindName;
  /** undefined for cluster-scoped kinds. */
  readonly namespace: string | undefined;
  /** undefined for a POST. */
  readonly name: string | undefined;
}

/** Metadata that only the server writes; `selfLink` is Kubernetes' own and means nothing here, `managedFields` go another way (ownership/track.ts). */
export const SERVERS_OWN: ReadonlySet<string> = new Set([
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "managedFields",
  "selfLink",
]);
const RANDOM_LETTERS = "bcdfghjklmnpqrstvwxz2456789";

/** Checks kind, namespace and name against the URL. Throws BadRequest. */
export function draftOf({ kind, namespace, name }: Place, input: unknown): Draft {
  const body = withoutNulls(input);
  if (!isJsonObject(body)) throw new AppError("BadRequest", `the body of the request must be a ${kind} as a JSON object`);
  const apiVersion = apiVersionOf(kinds[kind]);
  if ((body["kind"] ?? kind) !== kind || (body["apiVersion"] ?? apiVersion) !== apiVersion)
    throw new AppError(
      "BadRequest",
      `${shown(body["kind"])} in version "${shown(body["apiVersion"])}" cannot be handled as a ${kind}: this path takes kind: ${kind}, apiVersion: ${apiVersion}`,
    );
  const metadata = body["metadata"] ?? {};
  if (!isJsonObject(metadata)) throw new AppError("BadRequest", "metadata must be an object");
  const namespaceGiven = metadata["namespace"] ?? "";
  if (namespaceGiven !== "" && namespaceGiven !== namespace)
    throw new AppError("BadRequest", "the namespace of the provided object does not match the namespace sent on the request");
  if (name !== undefined && (metadata["name"] ?? "") !== "" && metadata["name"] !== name)
    throw new AppError("BadRequest", `the name of the object (${shown(metadata["name"])}) does not match the name on the URL (${name})`);
  const { namespace: _sameAsUrl, ...others } = metadata;
  return {
    body: { ...body, apiVersion, kind },
    metadata: { ...others, ...(namespace !== undefined && { namespace }), ...(name !== undefined && { name }) },
  };
}

/** A new object, validated. */
export function newObject(kind: KindName, { body, metadata }: Draft, now: number): AnyObject {
  const { hasGeneration, hasStatus } = kinds[kind];
  const { status: _serversToSay, ...rest } = body;
  const name = nameFor(kind, metadata);
  const object = validated(kind, {
    ...(hasStatus ? rest : body),
    metadata: {
      ...clientsPart(metadata),
      name,
      uid: randomUUID(),
      creationTimestamp: timestamp(now),
      ...(hasGeneration && { generation: 1 }),
    },
  });
  return object.kind === "Namespace" ? asNewNamespace(object) : object;
}

/** The object after a PUT or PATCH of itself, validated: status and the server's metadata stay. */
export function replacedObject(kind: KindName, current: AnyObject, { body, metadata }: Draft): AnyObject {
  const next = validated(kind, {
    ...(current.kind === "Service" ? withOneAddress(current, body) : body),
    ...(kinds[kind].hasStatus && { status: "status" in current ? current.status : {} }),
    metadata: { ...clientsPart(metadata), ...serversPart(current) },
  });
  return next.kind === "Namespace" ? withNameLabel(next) : next;
}

/** A patch of `clusterIP` alone means both fields (Kubernetes: normalizeClusterIPs): who wrote one of them is not told of the other. */
function withOneAddress(current: Service, body: JsonObject): JsonObject {
  const { spec } = body;
  if (!isJsonObject(spec) || typeof spec["clusterIP"] !== "string" || spec["clusterIP"] === "") return body;
  if (spec["clusterIP"] === current.spec.clusterIP || !isDeepStrictEqual(spec["clusterIPs"], current.spec.clusterIPs)) return body;
  return { ...body, spec: { ...spec, clusterIPs: [spec["clusterIP"]] } };
}

/** The object after a PUT or PATCH of its status, validated: all else stays. */
export function withStatus(kind: KindName, current: AnyObject, { body }: Draft): AnyObject {
  return validated(kind, { ...current, status: body["status"] ?? {} });
}

/**
 * With the schema's defaults. Checks of a Workload stand as they were written: kubectl compares that list as a whole, and would find a change each time.
 * Whoever reads them with the schema gets the defaults; hosts get them from server/watch/for-hosts.ts.
 */
function validated(kind: KindName, input: JsonObject): AnyObject {
  const object = parseObject(kind, kind === "Service" && "spec" in input ? { ...input, spec: withoutZeros(input["spec"]) } : input);
  if (object.kind !== "Workload" || object.spec.checks.length === 0) return object;
  const written = isJsonObject(input["spec"]) ? input["spec"]["checks"] : undefined;
  return { ...object, spec: { ...object.spec, checks: saidOnly(object.spec.checks, written) } };
}

/** `value` without what `written` does not have. */
function saidOnly<T>(value: T, written: unknown): T {
  if (Array.isArray(value) && Array.isArray(written)) return value.map((item, i) => saidOnly<unknown>(item, written[i])) as T;
  if (!isJsonObject(value) || !isJsonObject(written)) return value;
  const said = Object.entries(value).filter(([key]) => Object.hasOwn(written, key));
  return Object.fromEntries(said.map(([key, inner]) => [key, saidOnly(inner, written[key])])) as T; // what is left out has a default
}

/** generation counts the changes of what is wished for. */
export function withGeneration(kind: KindName, current: AnyObject, next: AnyObject): AnyObject {
  if (!kinds[kind].hasGeneration || isDeepStrictEqual(wishOf(current), wishOf(next))) return next;
  return { ...next, metadata: { ...next.metadata, generation: (current.metadata.generation ?? 1) + 1 } };
}

/** RFC 3339 in seconds, as Kubernetes writes times. */
export function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function wishOf(object: AnyObject): unknown {
  return { ...object, metadata: undefined, status: undefined };
}

/** Lists and maps that are empty are none, as Kubernetes writes them. */
function clientsPart(metadata: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(metadata).filter(([key, value]) => !SERVERS_OWN.has(key) && !isHollow(value)));
}

function serversPart({ metadata }: AnyObject): JsonObject {
  return Object.fromEntries(Object.entries(metadata).filter(([key]) => SERVERS_OWN.has(key)));
}

function nameFor(kind: KindName, { name, generateName }: JsonObject): unknown {
  if (name !== undefined && name !== "") return name;
  if (generateName === undefined || generateName === "")
    throw invalid(kind, "", [fault("metadata.name", "name or generateName is required", { reason: "FieldValueRequired" })]);
  if (typeof generateName !== "string")
    throw invalid(kind, "", [fault("metadata.generateName", "must be a string", { value: generateName })]);
  // As in Kubernetes: the prefix is cut so that the whole fits into a label.
  return generateName.slice(0, 58) + Array.from({ length: 5 }, () => RANDOM_LETTERS[randomInt(RANDOM_LETTERS.length)]).join("");
}

type NamespaceObject = Extract<AnyObject, { kind: "Namespace" }>;

function asNewNamespace(namespace: NamespaceObject): AnyObject {
  return withNameLabel({ ...namespace, spec: { ...namespace.spec, finalizers: ["kubernetes"] }, status: { phase: "Active" } });
}

function withNameLabel(namespace: NamespaceObject): NamespaceObject {
  const { metadata } = namespace;
  return { ...namespace, metadata: { ...metadata, labels: { ...metadata.labels, "kubernetes.io/metadata.name": metadata.name } } };
}

function shown(value: unknown): string {
  return typeof value === "string" ? value.slice(0, 300) : "";
}
