import { AppError } from "#proto/error.ts";
import { kindNames, kinds } from "#proto/kinds.ts";
import type { Store } from "#server/store/store.ts";
import { getObject } from "./read.ts";
import { workloadOf } from "./pods/routes.ts";
import { declareRoute, type App } from "./route.ts";

/** What kubectl can ask of a cluster that runs containers, and we do not: refused, with what to do instead. */

export function notHereRoutes(app: App, store: Store): void {
  for (const [subresource, instead] of Object.entries(INSTEAD))
    for (const method of ["GET", "POST"] as const)
      declareRoute(app, {
        method,
        path: `/api/v1/namespaces/:namespace/pods/:name/${subresource}`,
        summary: "Not here: Fairlead runs nothing",
        permission: { access: "resource", kind: "Workload", verb: "get" },
        handler: async ({ params }) => {
          const workload = await workloadOf(store, params);
          throw refusal(instead(workload.metadata.name, workload.spec.node));
        },
      });
  for (const kind of kindNames) {
    const { group, version, plural, namespaced } = kinds[kind];
    if (!namespaced || kind === "Event") continue;
    const base = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
    for (const method of ["GET", "PUT", "PATCH"] as const)
      declareRoute(app, {
        method,
        path: `${base}/namespaces/:namespace/${plural}/:name/scale`,
        summary: "Not here: Fairlead starts nothing",
        permission: { access: "resource", kind, verb: "get" },
        handler: async ({ params: { namespace = "", name = "" } }) => {
          await getObject(store, { kind, namespace, name });
          throw refusal(
            "nothing can be scaled; start more of the program on your hosts, and each registers as a Workload (fairlead register)",
          );
        },
      });
  }
}

/** By subresource of a Pod; what to do for a workload on a host. */
const INSTEAD: Readonly<Record<string, (name: string, node: string) => string>> = {
  log: (name, node) => `read the log of ${name} on its host ${node} (journalctl, docker logs)`,
  exec: (name, node) => `to run something beside ${name}, log in to its host ${node} (ssh, docker exec)`,
  attach: (name, node) => `to attach to ${name}, log in to its host ${node} (docker attach)`,
  portforward: (name) =>
    `every host reaches ${name} by its service's name and virtual IP; from elsewhere use a node port, or ssh -L through a host`,
};

function refusal(instead: string): AppError {
  return new AppError("BadRequest", `Fairlead runs no containers, it leads to what runs: ${instead}`);
}
