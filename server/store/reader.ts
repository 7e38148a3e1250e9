import { setImmediate as nextTurn } from "node:timers/promises";
import type Database from "better-sqlite3";
import type { AnyObject, KindName } from "#proto/kinds.ts";
import { decode } from "./codec.ts";
import type { ListPage, ListQuery, StoredText, TextPage } from "./store.ts";

export function openReader(db: Database.Database) {
  const one = db
    .prepare<[KindName, string, string], string>("SELECT body FROM objects WHERE kind = ? AND namespace = ? AND name = ?")
    .pluck();
  const inAll = db.prepare<[KindName, string, string, number], StoredText>(
    "SELECT namespace, name, body AS text FROM objects WHERE kind = ? AND (namespace, name) > (?, ?) ORDER BY namespace, name LIMIT ?",
  );
  const inOne = db.prepare<[KindName, string, string, number], StoredText>(
    "SELECT namespace, name, body AS text FROM objects WHERE kind = ? AND namespace = ? AND name > ? ORDER BY name LIMIT ?",
  );

  /** In one go, hence as of one revision. */
  function listTexts({ kind, namespace, limit, after }: ListQuery, revision: number): TextPage {
    const most = limit === undefined ? -1 : limit + 1;
    const items =
      namespace === undefined
        ? inAll.all(kind, after?.namespace ?? "", after?.name ?? "", most)
        : inOne.all(kind, namespace, afterIn(namespace, after), most);
    const more = limit !== undefined && items.length > limit;
    if (more) items.length = limit;
    return { items, revision, more };
  }

  return {
    get: (kind: KindName, namespace: string, name: string): AnyObject | undefined => {
      const text = one.get(kind, namespace, name);
      return text === undefined ? undefined : decode(text);
    },
    listTexts,
    /** They are parsed a few at a time. */
    list: async (query: ListQuery, revision: number): Promise<ListPage> => {
      const { items, more } = listTexts(query, revision);
      return { items: await decodeAll(items), revision, more };
    },
  };
}

const DECODE_AT_ONCE = 250;

async function decodeAll(texts: readonly StoredText[]): Promise<AnyObject[]> {
  const items: AnyObject[] = [];
  for (const [i, { text }] of texts.entries()) {
    if (i > 0 && i % DECODE_AT_ONCE === 0) await nextTurn();
    items.push(decode(text));
  }
  return items;
}

/** A namespace is listed alone, but its `after` may name another one: then all of it comes before, or all after. */
function afterIn(namespace: string, after: ListQuery["after"]): string {
  if (after === undefined || after.namespace < namespace) return "";
  return after.namespace === namespace ? after.name : "\u{10ffff}";
}
