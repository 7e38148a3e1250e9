import { z } from "zod";
import { pathsOf } from "./kind-paths.ts";
import { ListQuery, ReadQuery } from "./options.ts";
import { declareRoute, type App, type Call } from "./route.ts";
import type { DerivedKind } from "./view.ts";

export interface DerivedReads {
  /** What `GET` of the collection and of one object do, for people. */
  readonly summaries: { readonly list: string; readonly get: string };
  /** Lists, and watches where the query says so. */
  readonly list: (call: Call<ListQuery, unknown>) => Promise<unknown>;
  readonly get: (call: Call<z.output<typeof ReadQuery>, unknown>) => Promise<unknown>;
}

export const derivedAnswer = z.looseObject({ kind: z.string() });

/** The reading of a kind that is not stored as such. */
export function derivedRoutes(app: App, kind: DerivedKind, { summaries, list, get }: DerivedReads): void {
  const { everywhere, collection, object } = pathsOf(kind);
  const { of } = kind;
  const permission = (verb: "get" | "list") =>
    of === undefined ? ({ access: "authenticated" } as const) : ({ access: "resource", kind: of, verb } as const);
  for (const path of new Set([everywhere, collection]))
    declareRoute(app, {
      method: "GET",
      path,
      summary: summaries.list,
      permission: permission("list"),
      query: ListQuery,
      answer: derivedAnswer,
      handler: list,
    });
  declareRoute(app, {
    method: "GET",
    path: object,
    summary: summaries.get,
    permission: permission("get"),
    query: ReadQuery,
    answer: derivedAnswer,
    handler: get,
  });
}
