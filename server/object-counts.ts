import { kindNames, type KindName } from "#proto/kinds.ts";
import type { Store, StoredChange } from "./store/store.ts";

/** How many objects of each kind there are: counted once, then kept up with each commit. */
export interface ObjectCounts {
  current(): Readonly<Record<KindName, number>>;
  stop(): void;
}

const PAGE = 1000;

export async function openObjectCounts(store: Store): Promise<ObjectCounts> {
  const counts = Object.fromEntries(kindNames.map((kind) => [kind, 0])) as Record<KindName, number>; // every kind is there
  for (const kind of kindNames) counts[kind] = await countAll(store, kind);
  const stop = store.onCommit((changes) => {
    for (const change of changes) counts[change.key.kind] += difference(change);
  });
  return { current: () => counts, stop };
}

/** To be read before anybody writes. */
async function countAll(store: Store, kind: KindName): Promise<number> {
  let count = 0;
  let after: { namespace: string; name: string } | undefined;
  for (;;) {
    const { items, more } = await store.list({ kind, limit: PAGE, after });
    count += items.length;
    const last = items.at(-1);
    if (!more || !last) return count;
    after = { namespace: last.metadata.namespace ?? "", name: last.metadata.name };
  }
}

function difference({ type }: StoredChange): number {
  if (type === "MODIFIED") return 0;
  return type === "ADDED" ? 1 : -1;
}
