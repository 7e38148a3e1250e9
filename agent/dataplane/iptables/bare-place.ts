import type { Frontend } from "#agent/compile/table.ts";

/** What is no service and stands in a tree of addresses or ports all the same: only its place counts. */
export function barePlace(place: Pick<Frontend, "id" | "family" | "scope" | "address" | "port">): Frontend {
  return {
    ...place,
    protocol: "TCP",
    backends: [],
    whenEmpty: "reject",
    outside: undefined,
    sourceRanges: undefined,
    draining: [],
    affinitySeconds: undefined,
    scheduler: undefined,
  };
}
