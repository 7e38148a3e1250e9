import { ClusterFacts } from "#proto/agents.ts";
import { paths } from "#proto/paths.ts";
import { declareRoute, type App } from "../route.ts";

/** What a host must know of the fleet before it asks to be taken in: whether the fleet's ranges fit it. Costs the token no use. */
export function clusterRoute(app: App, cluster: ClusterFacts): void {
  declareRoute(app, {
    method: "GET",
    path: paths.cluster,
    summary: "The fleet's domain and ranges, for a host that is about to join; the bearer is a join token",
    permission: { access: "joiner" },
    answer: ClusterFacts,
    handler: () => cluster,
  });
}
