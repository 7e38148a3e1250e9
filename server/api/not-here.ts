import type { IncomingHttpHeaders } from "node:http";
import { AppError } from "#proto/error.ts";
import { kindNames, kinds } from "#proto/kinds.ts";
import type { Workload } from "#proto/workload.ts";
import type { Store } from "#server/store/store.ts";
import { derivedKinds } from "./derived-kinds.ts";
import { ALL_PATCH_TYPES } from "./error-reply.ts";
import { pathsOf } from "./kind-paths.ts";
import { POD_KIND } from "./pods/pod.ts";
import { workloadOf } from "./pods/routes.ts";
import { declareRoute, type App } from "./route.ts";

/** What kubectl can ask of a cluster that runs containers, and we do not: refused, with what to do instead. */

export function notHereRoutes(app: App, store: Store): void {
  for (const [subresource, instead] of Object.entries(INSTEAD))
    for (const method of ["GET", "POST", "PATCH"] as const)
      declareRoute(app, {
        method,
        path: `${pathsOf(POD_KIND).object}/${subresource}`,
        summary: "Not here: Fairlead runs nothing",
        permission: { access: "resource", kind: "Workload", verb: "get" },
        accepts: ALL_PATCH_TYPES,
        handler: async ({ params }) => {
          const workload = await workloadOf(store, params);
          throw refusal(instead(workload.metadata.name, workload.spec.node));
        },
      });
  const { collection, object } = pathsOf(POD_KIND);
  for (const [method, path] of [
    ["POST", collection],
    ["DELETE", collection],
    ["POST", `${object}/eviction`],
    ["PUT", object],
    ["PATCH", object],
    ["DELETE", object],
  ] as const)
    declareRoute(app, {
      method,
      path,
      summary: "Not here: Pods are Workloads, to be read only",
      permission: { access: "resource", kind: "Workload", verb: "list" },
      accepts: ALL_PATCH_TYPES,
      handler: () => {
        throw refusal(
          "Pods are its Workloads, to be read only; make one with `fairlead register` or `kubectl apply`, take one out with `kubectl delete workload`, and a host's with `kubectl cordon`",
          "MethodNotAllowed",
        );
      },
    });
  for (const kind of [...kindNames.map((name) => kinds[name]), ...derivedKinds])
    for (const method of ["GET", "PUT", "PATCH"] as const)
      declareRoute(app, {
        method,
        path: `${pathsOf(kind).object}/scale`,
        summary: "Not here: Fairlead starts nothing",
        permission: { access: "authenticated" },
        accepts: ALL_PATCH_TYPES,
        handler: () => {
          throw refusal(
            "nothing can be scaled; start more of the program on your hosts, and each registers as a Workload (fairlead register)",
          );
        },
      });
}

/**
 * `kubectl logs workload/NAME` reads the Workload and then finds by itself that it knows no such kind, in words that help nobody. It says with each request
 * which command it is (`Kubectl-Command: kubectl logs`); so the refusal comes before.
 */
export function refuseCommands({ metadata, spec }: Workload, headers: IncomingHttpHeaders): void {
  const command = headers["kubectl-command"];
  const subresource = typeof command === "string" ? SUBRESOURCES[command] : undefined;
  const instead = subresource === undefined ? undefined : INSTEAD[subresource];
  if (instead) throw refusal(instead(metadata.name, spec.node));
}

const SUBRESOURCES: Readonly<Record<string, string>> = {
  "kubectl logs": "log",
  "kubectl exec": "exec",
  "kubectl attach": "attach",
  "kubectl port-forward": "portforward",
  "kubectl debug": "ephemeralcontainers",
};

/** By subresource of a Pod; what to do for a workload on a host. */
const INSTEAD: Readonly<Record<string, (name: string, node: string) => string>> = {
  log: (name, node) => `read the log of ${name} on its host ${node} (journalctl, docker logs)`,
  exec: (name, node) => `to run something beside ${name}, log in to its host ${node} (ssh, docker exec)`,
  ephemeralcontainers: (name, node) => `to look into ${name}, log in to its host ${node} (ssh, docker exec)`,
  attach: (name, node) => `to attach to ${name}, log in to its host ${node} (docker attach)`,
  portforward: (name) =>
    `every host reaches ${name} by its service's name and virtual IP; from elsewhere use a node port, or ssh -L through a host`,
};

function refusal(instead: string, code: "BadRequest" | "MethodNotAllowed" = "BadRequest"): AppError {
  return new AppError(code, `Fairlead runs no containers, it leads to what runs: ${instead}`);
}
