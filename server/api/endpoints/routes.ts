import { AppError } from "#proto/error.ts";
import { matches } from "#server/watch/watch-kind.ts";
import { formatToken } from "../continue-token.ts";
import { derivedRoutes } from "../derived-routes.ts";
import { selectionOf, type ListQuery, type Selection } from "../options.ts";
import { pageOf, type KubeList } from "../read.ts";
import type { App } from "../route.ts";
import { shownAnswer, shownListAnswer } from "../shown.ts";
import { wantsTable } from "../table.ts";
import { linesFrom, type LineSource } from "../watch-lines.ts";
import { lineTexts, replyWithLines, type WatchDeps } from "../watch-reply.ts";
import { FOLLOWED_KINDS, openEndpointsLog, type EndpointsLog } from "./endpoints-log.ts";
import { ENDPOINTS_KIND, endpointsForm, type Endpoints } from "./endpoints.ts";

/** Endpoints (core/v1) of all Services, to be read and watched. */

interface Wanted extends Selection {
  readonly namespace: string | undefined;
}

export function endpointsRoutes(app: App, deps: WatchDeps): void {
  let opening: Promise<EndpointsLog> | undefined;
  const log = async (): Promise<EndpointsLog> => {
    opening ??= openEndpointsLog(deps.store);
    try {
      return await opening;
    } catch (error) {
      opening = undefined;
      throw error;
    }
  };
  derivedRoutes(app, ENDPOINTS_KIND, {
    summaries: { list: "List or watch what Services lead to as Endpoints", get: "Read what a Service leads to as Endpoints" },
    async list(call) {
      const { query, params, request } = call;
      const wanted = { namespace: params["namespace"], ...selectionOf(ENDPOINTS_KIND, query) };
      const opened = await log();
      if (!query.watch) return shownListAnswer(endpointsForm, pageFrom(opened, deps, wanted, query), call);
      return replyWithLines(deps, query, call, (plan, signal) => {
        const watch = { ...wanted, bookmarkAfterMs: deps.bookmarkAfterMs };
        const lines = linesFrom(sourceOf(opened, deps, wanted), { plan, watch }, signal);
        return lineTexts(lines, endpointsForm, { asTables: wantsTable(request.headers.accept), includeObject: query.includeObject });
      });
    },
    async get(call) {
      const { namespace = "", name = "" } = call.params;
      const object = (await log()).get(namespace, name);
      if (object) return shownAnswer(endpointsForm, object, call);
      throw new AppError("NotFound", `endpoints "${name}" not found`, { subject: { name, group: "", kind: "endpoints" } });
    },
  });
}

function pageFrom(
  log: EndpointsLog,
  { store }: WatchDeps,
  wanted: Wanted,
  query: ListQuery,
): Pick<KubeList, "metadata"> & { items: Endpoints[] } {
  const { start, revision, limit } = pageOf(store, query);
  const items: Endpoints[] = [];
  for (const object of log.all(wanted.namespace, start && `${start.namespace}/${start.name}`)) {
    if (!matches(wanted, object)) continue;
    const last = items.at(-1);
    if (last && items.length === limit) {
      const token = formatToken({ revision, namespace: last.metadata.namespace ?? "", name: last.metadata.name });
      return { metadata: { resourceVersion: String(revision), continue: token }, items };
    }
    items.push(object);
  }
  return { metadata: { resourceVersion: String(revision) }, items };
}

function sourceOf(log: EndpointsLog, { store, hub }: WatchDeps, wanted: Wanted): LineSource<Endpoints> {
  return {
    ...endpointsForm,
    history: {
      get revision() {
        return store.revision;
      },
      get compactedRevision() {
        return log.compactedRevision;
      },
    },
    async *matching() {
      for (const object of log.all(wanted.namespace)) if (matches(wanted, object)) yield object;
    },
    changesSince: async (since, limit) => log.changesSince(since, limit),
    waitPast: (since, timeoutMs, signal) => hub.waitPast(since, { kinds: FOLLOWED_KINDS, timeoutMs }, signal),
  };
}
