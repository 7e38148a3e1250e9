import { ChangesQuery, ChangesReply, FOLLOWED_KINDS, SnapshotPage, SnapshotQuery, type ClusterFacts } from "#proto/agents.ts";
import { kinds, type AnyObject } from "#proto/kinds.ts";
import { paths } from "#proto/paths.ts";
import type { Store } from "#server/store/store.ts";
import type { Feed } from "#server/watch/feed.ts";
import { formatToken, parseToken, type Position } from "./continue-token.ts";
import type { Polls } from "./polls.ts";
import { declareRoute, type App } from "./route.ts";

/** The agents' protocol: all there is, page by page, then what changes (proto/agents.ts). */

export interface AgentsDeps {
  readonly store: Store;
  readonly feed: Feed;
  readonly polls: Polls;
  readonly cluster: ClusterFacts;
  /** Told what a host says that its kernel holds. */
  readonly reportApplied: (node: string, applied: number, epoch: string) => void;
}

export function agentRoutes(app: App, deps: AgentsDeps): void {
  const pageOf = createPages(deps);
  declareRoute(app, {
    method: "GET",
    path: paths.snapshot,
    summary: "All objects that hosts follow, page by page",
    permission: { access: "authenticated" },
    query: SnapshotQuery,
    answer: SnapshotPage,
    handler: async ({ query, reply }) => {
      const body = await pageOf(query.continue, query.limit);
      return reply.type("application/json").send(body);
    },
  });
  declareRoute(app, {
    method: "GET",
    path: paths.changes,
    summary: "What changed after a revision; waits until there is something",
    permission: { access: "authenticated" },
    query: ChangesQuery,
    answer: ChangesReply,
    handler: async ({ query, request, reply }, identity) => {
      const { since, epoch, limit, timeoutMs, applied } = query;
      if (applied !== undefined && identity.kind === "node") deps.reportApplied(identity.name, applied, epoch);
      const poll = deps.polls.open("changes", request, reply);
      try {
        const body = await deps.feed.nextChanges({ since, epoch, limit, timeoutMs }, poll.signal);
        return await reply.type("application/json").send(body);
      } finally {
        poll.release();
      }
    },
  });
}

const MEMO_PAGES = 32;

/** After a restart every host asks for the same pages at the same time: each is read and encoded once for a revision. */
function createPages(deps: Pick<AgentsDeps, "store" | "cluster">): (token: string | undefined, limit: number) => Promise<Buffer> {
  const { store } = deps;
  const made = new Map<string, Promise<Buffer>>();
  let madeAt = -1;
  return async (token, limit) => {
    const start = token === undefined ? undefined : parseToken(token, store);
    if (madeAt !== store.revision || made.size >= MEMO_PAGES) made.clear();
    madeAt = store.revision;
    const key = `${limit}/${token ?? ""}`;
    const known = made.get(key);
    if (known) return known;
    const page = makePage(deps, start, limit);
    made.set(key, page);
    page.catch(() => {
      if (made.get(key) === page) made.delete(key);
    });
    return page;
  };
}

async function makePage(
  { store, cluster }: Pick<AgentsDeps, "store" | "cluster">,
  start: Position | undefined,
  limit: number,
): Promise<Buffer> {
  const revision = start?.revision ?? store.revision;
  const items: AnyObject[] = [];
  let next: Position | undefined;
  let after: Position | undefined = start;
  for (let kindIndex = start?.kindIndex ?? 0; kindIndex < FOLLOWED_KINDS.length && !next; kindIndex++) {
    const kind = FOLLOWED_KINDS[kindIndex] ?? "Namespace";
    if (items.length >= limit) {
      // An empty name stands before every other.
      next = { revision, kindIndex, namespace: "", name: "" };
      break;
    }
    const page = await store.list({ kind, limit: limit - items.length, after: after?.name === "" ? undefined : after });
    items.push(...page.items);
    const last = page.items.at(-1);
    if (page.more && last) next = { revision, kindIndex, namespace: namespaceOf(last), name: last.metadata.name };
    after = undefined;
  }
  const reply: SnapshotPage = { epoch: store.epoch, revision, cluster, items, ...(next && { continue: formatToken(next) }) };
  return Buffer.from(JSON.stringify(reply));
}

function namespaceOf(object: AnyObject): string {
  return kinds[object.kind].namespaced ? (object.metadata.namespace ?? "") : "";
}
