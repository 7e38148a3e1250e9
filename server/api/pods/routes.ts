import { AppError } from "#proto/error.ts";
import type { Workload } from "#proto/workload.ts";
import { internalIpsOf } from "#proto/node.ts";
import type { Store } from "#server/store/store.ts";
import { derivedRoutes } from "../derived-routes.ts";
import { selectionOf, type ListQuery, type Selection } from "../options.ts";
import { listObjects } from "../read.ts";
import { listAnswer, objectAnswer } from "../shown.ts";
import type { App, Params } from "../route.ts";
import type { View } from "../view.ts";
import { replyWithWatch, type WatchDeps } from "../watch-reply.ts";
import { POD_KIND, podColumns, podOf, type Pod } from "./pod.ts";

/** Workloads as Pods, to be read only: for `kubectl get pods`, `describe node` and tools that look for Pods. */

export function podRoutes(app: App, deps: WatchDeps): void {
  const { store } = deps;
  derivedRoutes(app, POD_KIND, {
    summaries: { list: "Workloads as Pods", get: "A Workload as a Pod" },
    async list(call) {
      const { query, params } = call;
      const wanted = { kind: "Workload", namespace: params["namespace"], ...workloadSelection(query) } as const;
      if (query.watch) return replyWithWatch(deps, wanted, query, call, podView(nodeAddresses(store)));
      return listAnswer(podView(remembered(nodeAddresses(store))), await listObjects(store, wanted, query), call);
    },
    get: async (call) => objectAnswer(podView(nodeAddresses(store)), await workloadOf(store, call.params), call),
  });
}

/** The first address of a Node, as it is now. */
type AddressOf = (node: string) => Promise<string | undefined>;

function nodeAddresses(store: Store): AddressOf {
  return async (name) => {
    const node = await store.get({ kind: "Node", namespace: "", name });
    return node?.kind === "Node" ? internalIpsOf(node)[0] : undefined;
  };
}

/** For one list, in which a host has many workloads. A watch goes on for hours, and looks each time. */
function remembered(addressOf: AddressOf): AddressOf {
  const known = new Map<string, Promise<string | undefined>>();
  return (node) => {
    const address = known.get(node) ?? addressOf(node);
    known.set(node, address);
    return address;
  };
}

function podView(addressOf: AddressOf): View<Pod> {
  return {
    apiVersion: "v1",
    kind: "Pod",
    columns: podColumns,
    async show(object) {
      if (object.kind !== "Workload") throw new Error(`${object.kind} is not shown as a Pod`);
      return podOf(object, await addressOf(object.spec.node));
    },
  };
}

export async function workloadOf(store: Store, { namespace = "", name = "" }: Params): Promise<Workload> {
  const key = { kind: "Workload", namespace, name } as const;
  const found = await store.get(key);
  if (found?.kind === "Workload") return found;
  throw new AppError("NotFound", `pods "${name}" not found`, { subject: { name, group: "", kind: "pods" } });
}

/** In terms of Workloads. All of them run, so what is asked of the phase selects all or none. */
function workloadSelection(query: Pick<ListQuery, "labelSelector" | "fieldSelector">): Selection {
  const { labelSelector, fieldSelector } = selectionOf(POD_KIND, query);
  return {
    labelSelector,
    fieldSelector: fieldSelector.flatMap(({ field, equal, value }) => {
      if (field === "spec.nodeName") return [{ field: "spec.node", equal, value }];
      if (field === "status.phase") return (value === "Running") === equal ? [] : [NOBODY];
      return [{ field, equal, value }];
    }),
  };
}

const NOBODY = { field: "metadata.name", equal: true, value: "" } as const;
