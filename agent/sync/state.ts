import type { ClusterFacts } from "#proto/agents.ts";
import type { EndpointSlice } from "#proto/endpoint-slice.ts";
import type { ObjectKey } from "#proto/meta.ts";
import type { Namespace } from "#proto/namespace.ts";
import type { Node } from "#proto/node.ts";
import type { Service } from "#proto/service.ts";
import type { Workload } from "#proto/workload.ts";

/** Objects by key. They are held packed: each `get` makes one anew, so whoever needs it twice keeps it meanwhile. */
export type ObjectView<T> = Pick<ReadonlyMap<ObjectKey, T>, "get" | "has" | "keys" | "size">;

/** What this host last heard from the server; read-only for everybody but the replica itself. */
export interface ClusterState {
  /** The revision that it is; 0 = nothing heard yet. */
  readonly revision: number;
  readonly cluster: ClusterFacts | undefined;
  readonly namespaces: ObjectView<Namespace>;
  readonly nodes: ObjectView<Node>;
  readonly services: ObjectView<Service>;
  readonly slices: ObjectView<EndpointSlice>;
  /** Slices of each Service, by the key of the Service. */
  readonly slicesByService: Pick<ReadonlyMap<ObjectKey, ReadonlyMap<ObjectKey, EndpointSlice>>, "get" | "has">;
  /** Workloads of this node only. */
  readonly ownWorkloads: ReadonlyMap<ObjectKey, Workload>;
}

/** What a batch of changes touched; whoever follows the state looks at nothing else. `all` = start over (snapshot). */
export interface Touched {
  readonly revision: number;
  readonly all: boolean;
  /** Services that changed themselves, or whose slices did. */
  readonly services: ReadonlySet<ObjectKey>;
  readonly namespaces: ReadonlySet<ObjectKey>;
  readonly nodes: ReadonlySet<ObjectKey>;
  readonly ownWorkloads: ReadonlySet<ObjectKey>;
}
