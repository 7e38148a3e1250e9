import { z } from "zod";
import { kinds } from "#proto/kinds.ts";
import { isJsonObject, jsonOrProtobuf } from "../json-body.ts";
import { ListQuery, ReadQuery, selectionOf, writeOptions, WriteQuery } from "../options.ts";
import { getObject, listObjects } from "../read.ts";
import type { ResourceDeps } from "../resources.ts";
import { declareRoute, type App, type Call } from "../route.ts";
import { listAnswer, objectAnswer } from "../shown.ts";
import { addWarnings } from "../warnings.ts";
import { replyWithWatch } from "../watch-reply.ts";
import { createObject } from "../write.ts";
import { coreBodyOf, coreFieldOf, eventV1Of, eventV1View } from "./event-v1.ts";

/** events.k8s.io/v1: the same Events as core/v1, read and made. */

const BASE = "/apis/events.k8s.io/v1";
const IN_NAMESPACE = `${BASE}/namespaces/:namespace/events`;

export function eventRoutes(app: App, deps: ResourceDeps): void {
  const permission = (verb: "get" | "list" | "create") => ({ access: "resource", kind: "Event", verb }) as const;
  const answer = z.looseObject({ kind: z.string() });
  const list = async (call: Call<ListQuery, unknown>): Promise<unknown> => {
    const { query, params } = call;
    const fieldSelector = query.fieldSelector?.split(",").map(coreFieldOf).join();
    const wanted = { kind: "Event", namespace: params["namespace"], ...selectionOf("Event", { ...query, fieldSelector }) } as const;
    if (query.watch) return replyWithWatch(deps, wanted, query, call, eventV1View());
    return listAnswer(eventV1View(), await listObjects(deps.store, wanted, query), call);
  };
  for (const path of [`${BASE}/events`, IN_NAMESPACE])
    declareRoute(app, {
      method: "GET",
      path,
      summary: "Events by their newer names",
      permission: permission("list"),
      query: ListQuery,
      answer,
      handler: list,
    });
  declareRoute(app, {
    method: "GET",
    path: `${IN_NAMESPACE}/:name`,
    summary: "An Event by its newer names",
    permission: permission("get"),
    query: ReadQuery,
    answer,
    handler: async (call) => {
      const { namespace = "", name = "" } = call.params;
      return objectAnswer(eventV1View(), await getObject(deps.store, { kind: "Event", namespace, name }), call);
    },
  });
  declareRoute(app, {
    method: "POST",
    path: IN_NAMESPACE,
    summary: "Create an Event by its newer names",
    permission: permission("create"),
    accepts: jsonOrProtobuf,
    query: WriteQuery,
    describesBody: kinds.Event.schema,
    answer,
    handler: async ({ params, query, body, reply }, identity) => {
      const place = { kind: "Event", namespace: params["namespace"], name: undefined } as const;
      const write = { ...place, identity, options: writeOptions(query) };
      const { object, warnings } = await createObject(deps, write, isJsonObject(body) ? coreBodyOf(body) : body);
      addWarnings(reply.code(201), warnings);
      return object.kind === "Event" ? eventV1Of(object) : object;
    },
  });
}
