import { z } from "zod";
import { apiVersionOf, kindNames, kinds } from "#proto/kinds.ts";
import { paths } from "#proto/paths.ts";
import { VERSION } from "#server/version.ts";
import { declareRoute, type App, type DeclaredRoute } from "./route.ts";

/** The OpenAPI document, made from the schemas that validate: it cannot say anything else than the server does. */

type Json = Record<string, unknown>;

/** To be called last: it tells of all routes declared so far, and of itself. */
export function openApiRoute(app: App): void {
  let text: string | undefined;
  declareRoute(app, {
    method: "GET",
    path: paths.openapi,
    summary: "This document",
    permission: { access: "authenticated" },
    answer: z.looseObject({ openapi: z.string() }),
    handler: ({ reply }) => {
      text ??= JSON.stringify(openApiDocument(app.declaredRoutes));
      return reply.type("application/json").send(text);
    },
  });
}

export function openApiDocument(routes: readonly DeclaredRoute[]): Json {
  const operations: Record<string, Json> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:([A-Za-z]+)/g, "{$1}");
    operations[path] = { ...operations[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Fairlead", version: VERSION },
    security: [{ bearer: [] }],
    paths: operations,
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas: {
        Status: STATUS,
        ...Object.fromEntries(
          kindNames.map((kind) => [
            kind,
            {
              ...schemaOf(kinds[kind].schema, { root: kind }),
              "x-kubernetes-group-version-kind": [{ group: kinds[kind].group, version: kinds[kind].version, kind }],
              description: `${kind}, ${apiVersionOf(kinds[kind])}`,
            },
          ]),
        ),
      },
    },
  };
}

function operationOf({ path, summary, query, body, describesBody, answer, accepts, permission }: DeclaredRoute): Json {
  const bodySchema = describesBody ?? body;
  const parameters = [
    ...Array.from(path.matchAll(/:([A-Za-z]+)/g), ([, name]) => ({ name, in: "path", required: true, schema: { type: "string" } })),
    ...queryParameters(query),
  ];
  return {
    summary,
    parameters,
    ...(bodySchema && {
      requestBody: { content: Object.fromEntries((accepts ?? [JSON_TYPE]).map((type) => [type, { schema: schemaOf(bodySchema) }])) },
    }),
    responses: {
      "2XX": { description: "Done", ...(answer && { content: { [JSON_TYPE]: { schema: schemaOf(answer) } } }) },
      default: { description: "Refused or failed", content: { [JSON_TYPE]: { schema: { $ref: "#/components/schemas/Status" } } } },
    },
    "x-fairlead-permission": permission,
    ...(permission.access === "public" && { security: [] }),
  };
}

const JSON_TYPE = "application/json";

function queryParameters(query: z.ZodType | undefined): Json[] {
  if (!query) return [];
  const { properties = {}, required = [] } = schemaOf(query) as { properties?: Record<string, Json>; required?: string[] };
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: "query",
    required: required.includes(name),
    // What is normalised before it is validated says nothing of its form: in a query it is text.
    schema: Object.keys(schema).length === 0 ? { type: "string" } : schema,
  }));
}

const kindOfSchema = new Map<unknown, string>(kindNames.map((kind) => [kinds[kind].schema, kind]));

/** What may be sent, in JSON Schema; kinds are named, not repeated. */
function schemaOf(schema: z.ZodType, { root }: { readonly root?: string } = {}): Json {
  const { $schema: _dialect, ...made } = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => {
      const kind = kindOfSchema.get(zodSchema);
      if (kind === undefined || kind === root) return;
      for (const key of Object.keys(jsonSchema)) Reflect.deleteProperty(jsonSchema, key);
      jsonSchema.$ref = `#/components/schemas/${kind}`;
    },
  });
  return made;
}

const STATUS: Json = {
  type: "object",
  description: "What went wrong: Kubernetes' Status, v1",
  properties: {
    kind: { const: "Status" },
    apiVersion: { const: "v1" },
    status: { enum: ["Success", "Failure"] },
    message: { type: "string" },
    reason: { type: "string" },
    code: { type: "integer" },
    details: { type: "object" },
  },
};
