import type { KindFacts } from "#proto/kinds.ts";

/** The paths of a kind, as routes declare them. */
export interface KindPaths {
  /** Over all namespaces. */
  readonly everywhere: string;
  readonly collection: string;
  readonly object: string;
}

export function pathsOf({ group, version, plural, namespaced }: Pick<KindFacts, "group" | "version" | "plural" | "namespaced">): KindPaths {
  const base = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const everywhere = `${base}/${plural}`;
  const collection = namespaced ? `${base}/namespaces/:namespace/${plural}` : everywhere;
  return { everywhere, collection, object: `${collection}/:name` };
}
