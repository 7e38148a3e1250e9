import { z } from "zod";
import { PATCH_TYPES } from "../error-reply.ts";
import { isJsonObject, jsonOrProtobuf } from "../json-body.ts";
import { derivedAnswer, derivedRoutes } from "../derived-routes.ts";
import { pathsOf } from "../kind-paths.ts";
import { deleteObject } from "../delete.ts";
import { DeleteBody, deleteOptions, DeleteQuery, selectionOf, writeOptions, WriteQuery } from "../options.ts";
import { changeOf } from "../patches.ts";
import { getObject, listObjects } from "../read.ts";
import { deletionAnswer, type ResourceDeps } from "../resources.ts";
import { declareRoute, type App } from "../route.ts";
import { listAnswer, objectAnswer } from "../shown.ts";
import { addWarnings } from "../warnings.ts";
import { replyWithWatch } from "../watch-reply.ts";
import { createObject, patchObject } from "../write.ts";
import { coreBodyOf, coreFieldOf, EVENTS_KIND, eventV1Of, eventV1View } from "./event-v1.ts";

/** events.k8s.io/v1: the same Events as core/v1, read, made, patched and deleted. */

export function eventRoutes(app: App, deps: ResourceDeps): void {
  derivedRoutes(app, EVENTS_KIND, {
    summaries: { list: "Events by their newer names", get: "An Event by its newer names" },
    async list(call) {
      const { query, params } = call;
      const { labelSelector, fieldSelector } = selectionOf(EVENTS_KIND, query);
      const fields = fieldSelector.map((one) => ({ ...one, field: coreFieldOf(one.field) }));
      const wanted = { kind: "Event", namespace: params["namespace"], labelSelector, fieldSelector: fields } as const;
      if (query.watch) return replyWithWatch(deps, wanted, query, call, eventV1View());
      return listAnswer(eventV1View(), await listObjects(deps.store, wanted, query), call);
    },
    async get(call) {
      const { namespace = "", name = "" } = call.params;
      return objectAnswer(eventV1View(), await getObject(deps.store, { kind: "Event", namespace, name }), call);
    },
  });
  declareRoute(app, {
    method: "POST",
    path: pathsOf(EVENTS_KIND).collection,
    summary: "Create an Event by its newer names",
    permission: { access: "resource", kind: "Event", verb: "create" },
    accepts: jsonOrProtobuf,
    query: WriteQuery,
    describesBody: EVENTS_KIND.schema,
    answer: derivedAnswer,
    handler: async ({ params, query, body, reply }, identity) => {
      const place = { kind: "Event", namespace: params["namespace"], name: undefined } as const;
      const write = { ...place, identity, options: writeOptions(query) };
      const { object, warnings } = await createObject(deps, write, isJsonObject(body) ? coreBodyOf(body) : body);
      addWarnings(reply.code(201), warnings);
      return object.kind === "Event" ? eventV1Of(object) : object;
    },
  });
  declareRoute(app, {
    method: "PATCH",
    path: pathsOf(EVENTS_KIND).object,
    summary: "Change an Event by its newer names",
    permission: { access: "resource", kind: "Event", verb: "patch" },
    accepts: PATCH_TYPES,
    query: WriteQuery,
    describesBody: z.looseObject({}),
    answer: derivedAnswer,
    // As client-go's recorder counts what happens again: a patch of `series`.
    handler: async ({ params, query, body, request, reply }, identity) => {
      const place = { kind: "Event", namespace: params["namespace"], name: params["name"] } as const;
      const { merging } = EVENTS_KIND;
      const change = changeOf({ merging, accepted: PATCH_TYPES }, request.headers["content-type"], body);
      const write = { ...place, identity, options: writeOptions(query), userAgent: request.headers["user-agent"] };
      const { object, warnings } = await patchObject(deps, write, (current) => {
        const changed = change(current.kind === "Event" ? eventV1Of(current) : current);
        return isJsonObject(changed) ? coreBodyOf(changed) : changed;
      });
      addWarnings(reply, warnings);
      return object.kind === "Event" ? eventV1Of(object) : object;
    },
  });
  declareRoute(app, {
    method: "DELETE",
    path: pathsOf(EVENTS_KIND).object,
    summary: "Delete an Event by its newer names",
    permission: { access: "resource", kind: "Event", verb: "delete" },
    query: DeleteQuery,
    body: DeleteBody,
    handler: async ({ params: { namespace = "", name = "" }, query, body }, identity) => {
      const request = { key: { kind: "Event", namespace, name }, identity, options: deleteOptions(query, body) } as const;
      return deletionAnswer(EVENTS_KIND, await deleteObject(deps, request));
    },
  });
}
