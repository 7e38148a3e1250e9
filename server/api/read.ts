import { setImmediate as nextTurn } from "node:timers/promises";
import { AppError } from "#proto/error.ts";
import { apiVersionOf, kinds, type AnyObject, type KindName } from "#proto/kinds.ts";
import { notFound } from "#server/store/errors.ts";
import type { Store, StoreKey } from "#server/store/store.ts";
import { matches } from "#server/watch/watch-kind.ts";
import { formatToken, parseToken } from "./continue-token.ts";
import { parseRevision, type ListQuery, type Selection } from "./options.ts";

export interface KubeList {
  readonly kind: string;
  readonly apiVersion: string;
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly AnyObject[];
}

export interface ListRequest extends Selection {
  readonly kind: KindName;
  /** undefined: all. */
  readonly namespace: string | undefined;
}

/** Read from the store at once: bounds what one list holds the event loop for. */
const READ = 500;

export async function getObject(store: Store, key: StoreKey): Promise<AnyObject> {
  const object = await store.get(key);
  if (!object) throw notFound(key);
  return object;
}

/** One page as JSON text, in pieces, without parsing what no selector asks for. The same objects as `listObjects` gives. */
export async function* listPieces(store: Store, wanted: ListRequest, query: ListQuery): AsyncGenerator<string, void, undefined> {
  const { start, revision, limit } = pageOf(store, query);
  const { kind, namespace, labelSelector, fieldSelector } = wanted;
  const isChosen = labelSelector.length > 0 || fieldSelector.length > 0;
  let [count, token, after, more]: [number, string | undefined, Place | undefined, boolean] = [0, undefined, start, true];
  yield `{"kind":"${kind}List","apiVersion":"${apiVersionOf(kinds[kind])}","items":[`;
  while (more && token === undefined) {
    const page = await store.listTexts({ kind, namespace, limit: READ, after });
    const texts: string[] = [];
    for (const item of page.items) {
      if (isChosen && !matches(wanted, JSON.parse(item.text) as AnyObject)) continue; // only validated objects are stored
      if (count === limit) {
        token = after && formatToken({ revision, namespace: after.namespace, name: after.name });
        break;
      }
      texts.push(item.text);
      after = item;
      count++;
    }
    if (texts.length > 0) yield `${count > texts.length ? "," : ""}${texts.join()}`;
    if (token === undefined) after = page.items.at(-1) ?? after;
    ({ more } = page);
    await nextTurn();
  }
  yield `],"metadata":${JSON.stringify({ resourceVersion: String(revision), ...(token !== undefined && { continue: token }) })}}`;
}

type Place = { readonly namespace: string; readonly name: string };

/** Throws for what cannot be answered. */
export function pageOf(store: Store, query: ListQuery) {
  const start = query.continue === undefined || query.continue === "" ? undefined : parseToken(query.continue, store);
  if (!start) checkRevision(store, query);
  return {
    start,
    revision: start?.revision ?? store.revision,
    limit: query.limit === undefined || query.limit === 0 ? Infinity : query.limit,
  };
}

/** One page. A later page may hold objects that are newer than the list's revision; a watch from there says so again. */
export async function listObjects(store: Store, wanted: ListRequest, query: ListQuery): Promise<KubeList> {
  const { start, revision, limit } = pageOf(store, query);
  const items: AnyObject[] = [];
  let last: AnyObject | undefined;
  let more = false;
  for await (const object of matching(store, wanted, start)) {
    if (items.length >= limit) {
      more = true;
      break;
    }
    items.push(object);
    last = object;
  }
  const token = more && last ? formatToken({ revision, namespace: last.metadata.namespace ?? "", name: last.metadata.name }) : undefined;
  return {
    kind: `${wanted.kind}List`,
    apiVersion: apiVersionOf(kinds[wanted.kind]),
    metadata: { resourceVersion: String(revision), ...(token !== undefined && { continue: token }) },
    items,
  };
}

/** Objects that match, in the order of their keys, read a few hundred at a time. */
export async function* matching(
  store: Store,
  { kind, namespace, ...selection }: ListRequest,
  start?: { readonly namespace: string; readonly name: string },
): AsyncGenerator<AnyObject, void, undefined> {
  let after = start;
  for (;;) {
    const { items, more } = await store.list({ kind, namespace, limit: READ, after });
    for (const object of items) if (matches(selection, object)) yield object;
    const last = items.at(-1);
    if (!more || !last) return;
    after = { namespace: last.metadata.namespace ?? "", name: last.metadata.name };
  }
}

/** Throws what a list of that revision cannot be answered with. */
export function checkRevision(store: Store, { resourceVersion, resourceVersionMatch, sendInitialEvents }: ListQuery): void {
  if (sendInitialEvents !== undefined) throw forbiddenOption("sendInitialEvents is forbidden for list");
  const wanted = parseRevision(resourceVersion);
  if (resourceVersionMatch !== undefined && resourceVersionMatch !== "") {
    if (resourceVersionMatch !== "Exact" && resourceVersionMatch !== "NotOlderThan")
      throw forbiddenOption(`resourceVersionMatch: Unsupported value: ${JSON.stringify(resourceVersionMatch.slice(0, 64))}`);
    if (wanted === undefined) throw forbiddenOption("resourceVersionMatch is forbidden unless resourceVersion is provided");
  }
  if (wanted !== undefined && wanted > store.revision) throw tooLargeRevision(wanted, store.revision);
  // Only the present is kept; of the past there are changes, no states.
  if (resourceVersionMatch === "Exact" && wanted !== store.revision)
    throw new AppError("Expired", `The resourceVersion for the provided list is too old: ${wanted} (${store.revision})`);
}

function tooLargeRevision(wanted: number, newest: number): AppError {
  return new AppError("Timeout", `Timeout: Too large resource version: ${wanted}, current: ${newest}`, {
    causes: [{ field: "", reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
    hint: "list without resourceVersion",
  });
}

export function forbiddenOption(message: string): AppError {
  return new AppError("Invalid", message);
}
