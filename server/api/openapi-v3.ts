import { createHash } from "node:crypto";
import { z } from "zod";
import { apiVersionOf, kindNames, kinds, type KindFacts } from "#proto/kinds.ts";
import { VERSION } from "#server/version.ts";
import { POD_KIND } from "./pods/pod.ts";
import { declareRoute, type App } from "./route.ts";

/**
 * OpenAPI v3 as kubectl reads it: an index of groups, and a document for each (Kubernetes API concepts, "OpenAPI V3"). `kubectl explain` shows the schemas;
 * `create` and `apply` look there whether the server validates fields itself, which the parameter `fieldValidation` of PATCH says.
 */

type Json = Record<string, unknown>;

const Pod = z
  .looseObject({ metadata: z.looseObject({}), spec: z.looseObject({}), status: z.looseObject({}) })
  .describe("A Workload, to be read as a Pod.");
const documented: readonly KindFacts[] = [...kindNames.map((name) => kinds[name]), { ...POD_KIND, merging: {}, schema: Pod }];

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
  return [...new Set(documented.map(apiVersionOf))].toSorted();
}

function documentOf(groupVersion: string): Json {
  const own = documented.filter((facts) => apiVersionOf(facts) === groupVersion);
  return {
    openapi: "3.0.0",
    info: { title: "Fairlead", version: VERSION },
    paths: Object.fromEntries(own.map(pathItem)),
    components: { schemas: Object.fromEntries(own.map((facts) => [schemaId(facts), schemaOf(facts)])) },
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
  return [path, { get: operation("read"), put: operation("replace"), patch: operation("patch"), delete: operation("delete") }];
}

/** `io.k8s.api.core.v1.Service`, as Kubernetes names it; ours by our domain. */
function schemaId({ group, version, kind }: KindFacts): string {
  const domain = group === "fairlead.dev" ? "dev.fairlead" : `io.k8s.api.${(group === "" ? "core" : group).split(".")[0] ?? ""}`;
  return `${domain}.${version}.${kind}`;
}

function schemaOf({ group, version, kind, schema }: KindFacts): Json {
  const { $schema: _dialect, ...made } = z.toJSONSchema(schema, { target: "openapi-3.0", io: "input", unrepresentable: "any" });
  return { ...made, "x-kubernetes-group-version-kind": [{ group, version, kind }] };
}
