import type { z } from "zod";
import type { AnyObject } from "#proto/kinds.ts";
import type { ReadQuery } from "./options.ts";
import type { KubeList } from "./read.ts";
import type { Call } from "./route.ts";
import { tableOf, wantsTable, type TableOptions } from "./table.ts";
import type { Form, ShownObject, View } from "./view.ts";

/** Objects and lists in the form that a client asks for: JSON, or the Table that kubectl prints. */

type ReadCall = Call<z.output<typeof ReadQuery>, unknown>;

export async function objectAnswer<Shown extends ShownObject>(view: View<Shown>, object: AnyObject, call: ReadCall): Promise<unknown> {
  return shownAnswer(view, await view.show(object), call);
}

export async function listAnswer<Shown extends ShownObject>(view: View<Shown>, list: KubeList, call: ReadCall): Promise<unknown> {
  const items: Shown[] = [];
  for (const object of list.items) items.push(await view.show(object));
  return shownListAnswer(view, { metadata: list.metadata, items }, call);
}

export function shownAnswer<Shown extends ShownObject>(form: Form<Shown>, shown: Shown, { request, query }: ReadCall): unknown {
  if (!wantsTable(request.headers.accept)) return shown;
  return tableOf(form, [shown], { resourceVersion: shown.metadata.resourceVersion ?? "" }, optionsOf(query));
}

export function shownListAnswer<Shown extends ShownObject>(
  form: Form<Shown>,
  { metadata, items }: { readonly metadata: KubeList["metadata"]; readonly items: readonly Shown[] },
  { request, query }: ReadCall,
): unknown {
  const { apiVersion, kind } = form;
  if (wantsTable(request.headers.accept)) return tableOf(form, items, metadata, optionsOf(query));
  return { kind: `${kind}List`, apiVersion, metadata, items };
}

function optionsOf({ includeObject }: z.output<typeof ReadQuery>): TableOptions {
  return { includeObject, now: Date.now(), definitions: true };
}
