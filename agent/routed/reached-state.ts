import type { EndpointSlice } from "#proto/endpoint-slice.ts";
import { contains, parseIp } from "#proto/ip.ts";
import type { ObjectKey } from "#proto/meta.ts";
import type { ClusterState } from "#agent/sync/state.ts";
import type { Unreached } from "./peer-routes.ts";

/**
 * The state as kernel and names of this host go by it: without the endpoints of other hosts that this host has no route to. A connection to one would be lost, or
 * end at a container of this host's own that has the same address.
 */
export function reachedState(state: ClusterState, unreached: () => readonly Unreached[]): ClusterState {
  return {
    get revision() {
      return state.revision;
    },
    get cluster() {
      return state.cluster;
    },
    namespaces: state.namespaces,
    nodes: state.nodes,
    services: state.services,
    slices: state.slices,
    slicesByService: {
      has: (service) => state.slicesByService.has(service),
      get(service) {
        const slices = state.slicesByService.get(service);
        const left = unreached();
        return slices && left.length > 0 ? reachedOf(slices, left) : slices;
      },
    },
    ownWorkloads: state.ownWorkloads,
  };
}

function reachedOf(slices: ReadonlyMap<ObjectKey, EndpointSlice>, unreached: readonly Unreached[]): ReadonlyMap<ObjectKey, EndpointSlice> {
  const isReached = ({ addresses: [address = ""], nodeName }: EndpointSlice["endpoints"][number]): boolean => {
    const ip = parseIp(address);
    return !ip || !unreached.some(({ node, cidr }) => node === nodeName && contains(cidr, ip));
  };
  return new Map(Array.from(slices, ([key, slice]) => [key, { ...slice, endpoints: slice.endpoints.filter(isReached) }]));
}
