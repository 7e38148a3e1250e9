import { FOLLOWED_KINDS, type ClusterFacts } from "#proto/agents.ts";
import { kinds, type AnyObject } from "#proto/kinds.ts";
import type { Store } from "#server/store/store.ts";
import { forHosts } from "#server/watch/for-hosts.ts";
import { formatToken, parseToken, type Position } from "./continue-token.ts";

/**
 * The pages of the snapshot. After a restart every host asks for the same ones at the same time: each is read and encoded once for a revision.
 * Bounded by bytes: objects may be a mebibyte each, and a page of them would be more than one host can take or the server hold.
 */
export interface SnapshotPages {
  /** The JSON text of a SnapshotPage of at most `limit` objects. Rejects with Expired or BadRequest for the token. */
  page(token: string | undefined, limit: number): Promise<Buffer>;
  /** Pages held for others who may ask for the same. */
  readonly memo: { readonly pages: number; readonly bytes: number };
}

interface Deps {
  readonly store: Pick<Store, "list" | "revision" | "compactedRevision" | "epoch">;
  readonly cluster: ClusterFacts;
}

interface Held {
  readonly body: Promise<Buffer>;
  /** 0 while it is made. */
  bytes: number;
}

/** A page ends with the object that reaches this. */
const PAGE_BYTES = 4 * 1024 * 1024;
/** Read at once, so that a page of large objects is not read several times over. */
const BATCH = 100;
const MEMO_PAGES = 64;
const MEMO_BYTES = 32 * 1024 * 1024;

export function createSnapshotPages(deps: Deps): SnapshotPages {
  const { store } = deps;
  const held = new Map<string, Held>();
  let heldBytes = 0;
  let heldAt = -1;

  function forget(key: string, entry: Held): void {
    if (held.get(key) !== entry) return;
    held.delete(key);
    heldBytes -= entry.bytes;
  }

  function makeRoom(): void {
    for (const [key, oldest] of held) {
      if (held.size <= MEMO_PAGES && heldBytes <= MEMO_BYTES) return;
      forget(key, oldest);
    }
  }

  async function make(key: string, start: Position | undefined, limit: number): Promise<Buffer> {
    const entry: Held = { body: makePage(deps, start, limit), bytes: 0 };
    held.set(key, entry);
    makeRoom();
    try {
      const body = await entry.body;
      if (held.get(key) !== entry) return body;
      entry.bytes = body.length;
      heldBytes += body.length;
      makeRoom();
      return body;
    } catch (error) {
      forget(key, entry);
      throw error;
    }
  }

  return {
    page: async (token, limit) => {
      const start = token === undefined ? undefined : parseToken(token, store);
      if (heldAt !== store.revision) for (const [key, entry] of held) forget(key, entry);
      heldAt = store.revision;
      const key = `${limit}/${token ?? ""}`;
      return held.get(key)?.body ?? make(key, start, limit);
    },
    get memo() {
      return { pages: held.size, bytes: heldBytes };
    },
  };
}

async function makePage({ store, cluster }: Deps, start: Position | undefined, limit: number): Promise<Buffer> {
  const revision = start?.revision ?? store.revision;
  const { texts, next } = await readPage(store, { revision, start, limit });
  const head = JSON.stringify({ epoch: store.epoch, revision, cluster, ...(next && { continue: formatToken(next) }) });
  return Buffer.from(`${head.slice(0, -1)},"items":[${texts.join()}]}`);
}

/** The objects' JSON texts, and where the next page starts, if there is one. */
async function readPage(
  store: Deps["store"],
  { revision, start, limit }: { readonly revision: number; readonly start: Position | undefined; readonly limit: number },
): Promise<{ texts: string[]; next?: Position }> {
  const texts: string[] = [];
  let bytes = 0;
  const isFull = (): boolean => texts.length >= limit || bytes >= PAGE_BYTES;
  // An empty name stands before every other.
  let after = { namespace: start?.namespace ?? "", name: start?.name ?? "" };
  for (const [kindIndex, kind] of FOLLOWED_KINDS.entries()) {
    if (kindIndex < (start?.kindIndex ?? 0)) continue;
    for (let more = true; more;) {
      if (isFull()) return { texts, next: { revision, kindIndex, ...after } };
      const page = await store.list({ kind, limit: Math.min(limit - texts.length, BATCH), after: after.name === "" ? undefined : after });
      more = page.more;
      for (const item of page.items) {
        if (isFull()) {
          more = true;
          break;
        }
        const text = JSON.stringify(forHosts(item));
        texts.push(text);
        bytes += Buffer.byteLength(text);
        after = { namespace: namespaceOf(item), name: item.metadata.name };
      }
    }
    after = { namespace: "", name: "" };
  }
  return { texts };
}

function namespaceOf(object: AnyObject): string {
  return kinds[object.kind].namespaced ? (object.metadata.namespace ?? "") : "";
}
