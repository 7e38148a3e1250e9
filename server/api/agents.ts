import { ChangesQuery, ChangesReply, SnapshotPage, SnapshotQuery, tagOfFacts, type ClusterFacts } from "#proto/agents.ts";
import { AppError } from "#proto/error.ts";
import { paths } from "#proto/paths.ts";
import type { Store } from "#server/store/store.ts";
import type { Feed } from "#server/watch/feed.ts";
import type { Polls } from "./polls.ts";
import { declareRoute, type App } from "./route.ts";
import { createSnapshotPages } from "./snapshot-pages.ts";

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
  const snapshot = createSnapshotPages(deps);
  const tag = tagOfFacts(deps.cluster);
  declareRoute(app, {
    method: "GET",
    path: paths.snapshot,
    summary: "All objects that hosts follow, page by page",
    permission: { access: "authenticated" },
    query: SnapshotQuery,
    answer: SnapshotPage,
    handler: async ({ query, reply }) => {
      const body = await snapshot.page(query.continue, query.limit);
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
      const { since, epoch, facts, limit, timeoutMs, applied } = query;
      if (facts !== undefined && facts !== tag) throw new AppError("Expired", "the fleet's ranges, domain or times are others now");
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
