import { AppError } from "#proto/error.ts";
import { DEFAULT_NAMESPACE } from "#proto/namespace.ts";
import { pause } from "#proto/backoff.ts";
import { matches } from "#server/watch/watch-kind.ts";
import { derivedAnswer, derivedRoutes } from "../derived-routes.ts";
import { pathsOf } from "../kind-paths.ts";
import { ReadQuery, selectionOf } from "../options.ts";
import { checkRevision } from "../read.ts";
import { declareRoute, type App, type Params } from "../route.ts";
import { shownAnswer, shownListAnswer } from "../shown.ts";
import { wantsTable } from "../table.ts";
import { checkSince, endMark, errorLine, type WatchPlan } from "../watch-lines.ts";
import { lineTexts, replyWithLines, type ShownLine, type WatchDeps } from "../watch-reply.ts";
import { SERVICE_CIDR_KIND, SERVICE_CIDR_NAME, serviceCidrForm, serviceCidrOf, type ServiceCidr } from "./service-cidr.ts";

/** The one ServiceCIDR, to be read and watched. It does not change while the server runs. */

export function serviceCidrRoutes(app: App, deps: WatchDeps, serviceCidrs: readonly string[]): void {
  const { store } = deps;
  const startRevision = store.revision;
  const read = async (): Promise<ServiceCidr> => {
    const fleet = await store.get({ kind: "Namespace", namespace: "", name: DEFAULT_NAMESPACE });
    return serviceCidrOf(serviceCidrs, fleet?.kind === "Namespace" ? fleet : { metadata: { name: "" } }, startRevision);
  };
  derivedRoutes(app, SERVICE_CIDR_KIND, {
    summaries: { list: "List or watch the ranges of virtual IPs", get: "Read the ranges of virtual IPs" },
    async list(call) {
      const { query, request } = call;
      const only = await read();
      const all = matches(selectionOf(SERVICE_CIDR_KIND, query), only) ? [only] : [];
      if (query.watch)
        return replyWithLines(deps, query, call, (plan, signal) =>
          lineTexts(linesOf(deps, all, plan, signal), serviceCidrForm, {
            asTables: wantsTable(request.headers.accept),
            includeObject: query.includeObject,
          }),
        );
      checkRevision(store, query);
      return shownListAnswer(serviceCidrForm, { metadata: { resourceVersion: String(store.revision) }, items: all }, call);
    },
    async get(call) {
      checkName(call.params);
      return shownAnswer(serviceCidrForm, await read(), call);
    },
  });
  declareRoute(app, {
    method: "GET",
    path: pathsOf({ ...SERVICE_CIDR_KIND, version: "v1beta1" }).object,
    summary: "The same by its former version, for kubectl describe",
    permission: { access: "authenticated" },
    query: ReadQuery,
    answer: derivedAnswer,
    // kubectl 1.32 describes it so, whatever version there is.
    handler: async ({ params }) => {
      checkName(params);
      return { ...(await read()), apiVersion: "networking.k8s.io/v1beta1" };
    },
  });
}

function checkName({ name = "" }: Params): void {
  if (name === SERVICE_CIDR_NAME) return;
  throw new AppError("NotFound", `servicecidrs.networking.k8s.io "${name}" not found`, {
    subject: { name, group: "networking.k8s.io", kind: "servicecidrs" },
  });
}

/** Whoever comes from before this start is told the settings of now, changed or not. */
async function* linesOf(
  { store, bookmarkAfterMs }: Pick<WatchDeps, "store" | "bookmarkAfterMs">,
  all: readonly ServiceCidr[],
  plan: WatchPlan,
  signal: AbortSignal,
): AsyncGenerator<ShownLine, void, undefined> {
  try {
    checkSince(store, plan);
  } catch (error) {
    yield errorLine(error);
    return;
  }
  let told = plan.initial || plan.since === undefined ? store.revision : plan.since;
  for (const object of all)
    if (plan.initial) yield { type: "ADDED", object };
    else if (told < Number(object.metadata.resourceVersion)) yield { type: "MODIFIED", object };
  if (plan.endMark) yield { type: "BOOKMARK", object: { metadata: endMark(told) } };
  while (!signal.aborted) {
    const isDue = plan.bookmarks && store.revision > told;
    if (isDue) {
      told = store.revision;
      yield { type: "BOOKMARK", object: { metadata: { resourceVersion: String(told) } } };
    }
    await pause(bookmarkAfterMs, signal);
  }
}
