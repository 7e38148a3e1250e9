import type { z } from "zod";
import type { AnyObject } from "#proto/kinds.ts";
import type { ReadQuery } from "./options.ts";
import type { KubeList } from "./read.ts";
import type { Call } from "./route.ts";
import { tableOf, wantsTable, type TableOptions } from "./table.ts";
import type { ShownObject, View } from "./view.ts";

/** Objects and lists in the form that a client asks for: JSON, or the Table that kubectl prints. */

type ReadCall = Call<z.output<typeof ReadQuery>, unknown>;

export async function objectAnswer<Shown extends ShownObject>(
  view: View<Shown>,
  object: AnyObject,
  { request, query }: ReadCall,
): Promise<unknown> {
  const shown = await view.show(object);
  if (!wantsTable(request.headers.accept)) return shown;
  return tableOf(view, [shown], { resourceVersion: shown.metadata.resourceVersion ?? "" }, optionsOf(query));
}

export async function listAnswer<Shown extends ShownObject>(
  view: View<Shown>,
  list: KubeList,
  { request, query }: ReadCall,
): Promise<unknown> {
  const { apiVersion, kind } = view;
  const items: Shown[] = [];
  for (const object of list.items) items.push(await view.show(object));
  if (wantsTable(request.headers.accept)) return tableOf(view, items, list.metadata, optionsOf(query));
  return { kind: `${kind}List`, apiVersion, metadata: list.metadata, items };
}

function optionsOf({ includeObject }: z.output<typeof ReadQuery>): TableOptions {
  return { includeObject, now: Date.now(), definitions: true };
}
