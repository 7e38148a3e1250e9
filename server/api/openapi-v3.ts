import { createHash } from "node:crypto";
import { z } from "zod";
import { apiVersionOf, kindNames, kinds, type KindFacts, type MergeRule, type Merging } from "#proto/kinds.ts";
import { VERSION } from "#server/version.ts";
import { derivedKinds } from "./derived-kinds.ts";
import { ALL_PATCH_TYPES } from "./error-reply.ts";
import { declareRoute, type App } from "./route.ts";

/**
 * OpenAPI v3 as kubectl reads it: an index of groups, and a document for each (Kubernetes API concepts, "OpenAPI V3"). `kubectl explain` shows the schemas;
 * `create` and `apply` look there whether the server validates fields itself, which the parameter `fieldValidation` of PATCH says, which patches a kind
 * takes, and how its lists are merged.
 */

type Json = Record<string, unknown>;

export const documentedKinds: readonly KindFacts[] = [...kindNames.map((name) => kinds[name]), ...derivedKinds];

export function openApiV3Routes(app: App): void {
  const documents = groupVersions().map((groupVersion) => {
    const text = JSON.stringify(documentOf(groupVersion));
    const at = groupVersion.includes("/") ? `apis/${groupVersion}` : `api/${groupVersion}`;
    return { at, text, hash: createHash("sha256").update(text).digest("hex").slice(0, 32).toUpperCase() };
  });
  const index = {
    paths: Object.fromEntries(documents.map(({ at, hash }) => [at, { serverRelativeURL: `/openapi/v3/${at}?hash=${hash}` }])),
  };
  const answer = z.looseObject({});
  const permission = { access: "authenticated" } as const;
  declareRoute(app, { method: "GET", path: "/openapi/v3", summary: "OpenAPI v3 documents", permission, answer, handler: () => index });
  for (const { at, text, hash } of documents)
    declareRoute(app, {
      method: "GET",
      path: `/openapi/v3/${at}`,
      summary: `OpenAPI v3 document of ${at}`,
      permission,
      answer,
      // The hash in its address changes with the document, so what was fetched once need not be fetched again.
      handler: ({ reply }) => reply.header("ETag", `"${hash}"`).header("Cache-Control", "private").type("application/json").send(text),
    });
}

function groupVersions(): readonly string[] {
  return [...new Set(documentedKinds.map(apiVersionOf))].toSorted();
}

function documentOf(groupVersion: string): Json {
  const own = documentedKinds.filter((facts) => apiVersionOf(facts) === groupVersion);
  return {
    openapi: "3.0.0",
    info: { title: "Fairlead", version: VERSION },
    paths: Object.fromEntries(own.map(pathItem)),
    components: { schemas: Object.fromEntries(own.map((facts) => [schemaId(facts), kubeSchemaOf(facts)])) },
  };
}

function pathItem(facts: KindFacts): [string, Json] {
  const { group, version, kind, plural, namespaced } = facts;
  const path = `/${group === "" ? "api" : `apis/${group}`}/${version}/${namespaced ? "namespaces/{namespace}/" : ""}${plural}/{name}`;
  const parameters = ["dryRun", "fieldManager", "fieldValidation"].map((name) => ({ name, in: "query", schema: { type: "string" } }));
  const content = { "application/json": { schema: { $ref: `#/components/schemas/${schemaId(facts)}` } } };
  const operation = (verb: string): Json => ({
    operationId: `${verb}-${plural}`,
    parameters,
    "x-kubernetes-group-version-kind": { group, version, kind },
    responses: { "200": { description: "OK", content } },
  });
  const patches = Object.fromEntries(ALL_PATCH_TYPES.map((type) => [type, { schema: { type: "object" } }]));
  const patch = { ...operation("patch"), requestBody: { content: patches } };
  return [path, { get: operation("read"), put: operation("replace"), patch, delete: operation("delete") }];
}

/** `io.k8s.api.core.v1.Service`, as Kubernetes names it; ours by our domain. */
function schemaId({ group, version, kind }: KindFacts): string {
  const domain = group === "fairlead.dev" ? "dev.fairlead" : `io.k8s.api.${(group === "" ? "core" : group).split(".")[0] ?? ""}`;
  return `${domain}.${version}.${kind}`;
}

/** The schema of a kind in OpenAPI 3.0, with what Kubernetes' clients want to know of it. */
export function kubeSchemaOf({ group, version, kind, schema, merging }: KindFacts): Json {
  const { $schema: _dialect, ...made } = z.toJSONSchema(schema, { target: "openapi-3.0", io: "input", unrepresentable: "any" });
  return { ...marked(made, merging), "x-kubernetes-group-version-kind": [{ group, version, kind }] };
}

function marked(schema: Json, merging: Merging): Json {
  let result = schema;
  for (const [path, rule] of Object.entries(merging)) result = withMarks(result, path.split("."), marksOf(rule));
  return result;
}

function withMarks(schema: Json, path: readonly string[], marks: Json): Json {
  const [key, ...rest] = path;
  if (key === undefined) return { ...schema, ...marks };
  const properties = isJson(schema["properties"]) ? schema["properties"] : {};
  const inner = properties[key];
  // What a kind may have without a schema for it (conditions) has no place to say it at.
  return isJson(inner) ? { ...schema, properties: { ...properties, [key]: withMarks(inner, rest, marks) } } : schema;
}

function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null;
}

/** Kubernetes' names for it: `list` for server-side apply, `patch` for strategic merge patch. */
function marksOf(rule: MergeRule): Json {
  if (rule.type === "atomic") return { "x-kubernetes-map-type": "atomic" };
  const merge = { "x-kubernetes-patch-strategy": "merge" };
  if (rule.type === "set") return { ...merge, "x-kubernetes-list-type": "set" };
  const isAtomic = rule.keys.length === 0;
  return {
    ...merge,
    "x-kubernetes-patch-merge-key": rule.patchKey,
    "x-kubernetes-list-type": isAtomic ? "atomic" : "map",
    ...(!isAtomic && { "x-kubernetes-list-map-keys": rule.keys }),
  };
}
