import type { FastifyReply } from "fastify";
import { z } from "zod";
import { apiVersionOf, kindNames, kinds, type KindFacts, type KindName } from "#proto/kinds.ts";
import type { Verb } from "#server/trust/identity.ts";
import { applyObject } from "./apply.ts";
import { authorize } from "./authorize.ts";
import { deleteCollection, deleteObject, type Deleted } from "./delete.ts";
import { ALL_PATCH_TYPES, APPLY_PATCH, unsupportedMediaType } from "./error-reply.ts";
import { jsonOrProtobuf } from "./json-body.ts";
import { pathsOf } from "./kind-paths.ts";
import {
  applyOptions,
  DeleteBody,
  deleteOptions,
  DeleteQuery,
  ListQuery,
  ReadQuery,
  selectionOf,
  writeOptions,
  WriteQuery,
} from "./options.ts";
import { refuseCommands } from "./not-here.ts";
import { replyWithPieces } from "./list-reply.ts";
import { changeOf, mediaType } from "./patches.ts";
import { getObject, listObjects, listPieces } from "./read.ts";
import { declareRoute, type App, type Call, type Params } from "./route.ts";
import { listAnswer, objectAnswer } from "./shown.ts";
import { wantsTable } from "./table.ts";
import { viewOf } from "./view.ts";
import { addWarnings } from "./warnings.ts";
import { replyWithWatch, type WatchDeps } from "./watch-reply.ts";
import { createObject, patchObject, replaceObject, type WriteDeps, type Written } from "./write.ts";

/** Kubernetes' routes for every kind of the table. */

export type ResourceDeps = WriteDeps & WatchDeps;

export function resourceRoutes(app: App, deps: ResourceDeps): void {
  for (const kind of kindNames) {
    collectionRoutes(app, deps, kind);
    objectRoutes(app, deps, kind);
    if (kinds[kind].hasStatus) {
      readRoute(app, deps, kind, "status");
      writeRoutes(app, deps, kind, "status");
    }
  }
}

function allow(kind: KindName, verb: Verb, subresource?: "status") {
  return { access: "resource", kind, verb, subresource } as const;
}

function collectionRoutes(app: App, deps: ResourceDeps, kind: KindName): void {
  const { everywhere, collection } = pathsOf(kinds[kind]);
  const { schema, plural, namespaced } = kinds[kind] as KindFacts;
  const list = async (call: Call<ListQuery, unknown>): Promise<unknown> => {
    const wanted = { kind, namespace: call.params["namespace"], ...selectionOf(kinds[kind], call.query) };
    if (call.query.watch) return replyWithWatch(deps, wanted, call.query, call);
    if (wantsTable(call.request.headers.accept)) return listAnswer(viewOf(kind), await listObjects(deps.store, wanted, call.query), call);
    return replyWithPieces(call, listPieces(deps.store, wanted, call.query), deps);
  };
  const answer = listSchema(kind, schema);
  for (const path of new Set([collection, everywhere]))
    declareRoute(app, {
      method: "GET",
      path,
      summary: `List or watch ${plural}${namespaced && path === everywhere ? " of all namespaces" : ""}`,
      permission: allow(kind, "list"),
      query: ListQuery,
      answer,
      handler: list,
    });
  declareRoute(app, {
    method: "POST",
    path: collection,
    summary: `Create a ${kind}`,
    permission: allow(kind, "create"),
    accepts: jsonOrProtobuf,
    query: WriteQuery,
    describesBody: schema,
    answer: schema,
    handler: async ({ params, query, body, request, reply }, identity) => {
      objectOnly(request.headers["content-type"]);
      const write = { ...placeOf(kind, params), identity, options: writeOptions(query), userAgent: request.headers["user-agent"] };
      return answerWrite(reply, await createObject(deps, write, body));
    },
  });
  // As in Kubernetes, namespaces go one at a time.
  if (kind === "Namespace") return;
  declareRoute(app, {
    method: "DELETE",
    path: collection,
    summary: `Delete ${plural} that match`,
    permission: allow(kind, "deletecollection"),
    query: ListQuery.pick({ labelSelector: true, fieldSelector: true }).extend(DeleteQuery.shape),
    body: DeleteBody,
    answer,
    handler: ({ params, query, body }, identity) =>
      deleteCollection(
        deps,
        { kind, namespace: params["namespace"], ...selectionOf(kinds[kind], query) },
        { identity, options: deleteOptions(query, body) },
      ),
  });
}

function objectRoutes(app: App, deps: ResourceDeps, kind: KindName): void {
  readRoute(app, deps, kind);
  writeRoutes(app, deps, kind);
  declareRoute(app, {
    method: "DELETE",
    path: pathsOf(kinds[kind]).object,
    summary: `Delete a ${kind}`,
    permission: allow(kind, "delete"),
    query: DeleteQuery,
    body: DeleteBody,
    handler: async ({ params, query, body }, identity) => {
      const { namespace = "", name = "" } = params;
      return deletionAnswer(
        kinds[kind],
        await deleteObject(deps, { key: { kind, namespace, name }, identity, options: deleteOptions(query, body) }),
      );
    },
  });
}

function readRoute(app: App, { store }: ResourceDeps, kind: KindName, subresource?: "status"): void {
  declareRoute(app, {
    method: "GET",
    path: suffixed(pathsOf(kinds[kind]).object, subresource),
    summary: `Read a ${kind}${subresource === undefined ? "" : " with its status"}`,
    permission: allow(kind, "get", subresource),
    query: ReadQuery,
    answer: kinds[kind].schema,
    handler: async (call) => {
      const { namespace = "", name = "" } = call.params;
      const object = await getObject(store, { kind, namespace, name });
      if (object.kind === "Workload") refuseCommands(object, call.request.headers);
      return objectAnswer(viewOf(kind), object, call);
    },
  });
}

function writeRoutes(app: App, deps: ResourceDeps, kind: KindName, subresource?: "status"): void {
  const path = suffixed(pathsOf(kinds[kind]).object, subresource);
  const what = subresource === undefined ? `a ${kind}` : `the status of a ${kind}`;
  const { schema } = kinds[kind] as KindFacts;
  declareRoute(app, {
    method: "PUT",
    path,
    summary: `Replace ${what}`,
    permission: allow(kind, "update", subresource),
    accepts: jsonOrProtobuf,
    query: WriteQuery,
    describesBody: schema,
    answer: schema,
    handler: async ({ params, query, body, request, reply }, identity) => {
      objectOnly(request.headers["content-type"]);
      const mayCreate = (): void => authorize(identity, allow(kind, "create"), { params, method: "PUT", url: request.url });
      const userAgent = request.headers["user-agent"];
      const write = { ...placeOf(kind, params), identity, options: writeOptions(query), subresource, userAgent };
      return answerWrite(reply, await replaceObject(deps, write, body, mayCreate));
    },
  });
  declareRoute(app, {
    method: "PATCH",
    path,
    summary: `Change ${what}`,
    permission: allow(kind, "patch", subresource),
    query: WriteQuery,
    accepts: ALL_PATCH_TYPES,
    describesBody: z.looseObject({}),
    answer: schema,
    handler: async ({ params, query, body, request, reply }, identity) => {
      const write = { ...placeOf(kind, params), identity, subresource, userAgent: request.headers["user-agent"] };
      if (mediaType(request.headers["content-type"]) === APPLY_PATCH) {
        const mayCreate = (): void => authorize(identity, allow(kind, "create"), { params, method: "PATCH", url: request.url });
        return answerWrite(reply, await applyObject(deps, { ...write, options: applyOptions(query) }, body, mayCreate));
      }
      const how = { merging: kinds[kind].merging, accepted: ALL_PATCH_TYPES };
      const change = changeOf(how, request.headers["content-type"], body);
      return answerWrite(reply, await patchObject(deps, { ...write, options: writeOptions(query) }, change));
    },
  });
}

function placeOf(kind: KindName, params: Params) {
  return { kind, namespace: params["namespace"], name: params["name"] };
}

function answerWrite(reply: FastifyReply, { object, created, warnings }: Written): unknown {
  if (created) void reply.code(201);
  addWarnings(reply, warnings);
  return object;
}

/** As Kubernetes answers: what is gone is told of, what still goes is shown. */
export function deletionAnswer({ group, plural }: Pick<KindFacts, "group" | "plural">, { object, gone }: Deleted): unknown {
  if (!gone) return object;
  const details = { name: object.metadata.name, ...(group !== "" && { group }), kind: plural, uid: object.metadata.uid };
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
}

/** A patch is no object. */
function objectOnly(contentType: string | undefined): void {
  if (contentType !== undefined && !jsonOrProtobuf.includes(mediaType(contentType))) throw unsupportedMediaType(jsonOrProtobuf);
}

function suffixed(path: string, subresource: string | undefined): string {
  return subresource === undefined ? path : `${path}/${subresource}`;
}

function listSchema(kind: KindName, items: z.ZodType): z.ZodType {
  return z.object({
    kind: z.literal(`${kind}List`),
    apiVersion: z.literal(apiVersionOf(kinds[kind])),
    metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
    items: z.array(items),
  });
}
