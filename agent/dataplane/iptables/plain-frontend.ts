import type { Frontend } from "#agent/compile/table.ts";

/** A service with more endpoints has its chain apart, so that its neighbours' packets pass one rule of it and a change writes only it. */
export const MAX_BACKENDS_IN_LEAF = 8;

/** nat: is it all in the leaf of its place, and nothing in a chain of its own? Most are. */
export function isPlain({ outside, sourceRanges, affinitySeconds, backends }: Frontend): boolean {
  return outside === undefined && sourceRanges === undefined && affinitySeconds === undefined && backends.length <= MAX_BACKENDS_IN_LEAF;
}

/** How many rules it has there; undefined where it is not plain. */
export function plainWeight(frontend: Frontend): number | undefined {
  return isPlain(frontend) ? frontend.backends.length : undefined;
}
