import { keyOfName } from "./name.ts";
import type { NameKey } from "./name.ts";
import type { Query } from "./query.ts";
import { keptInside } from "./private-zones.ts";

export type Route<Group> =
  | { readonly kind: "ask"; readonly group: Group }
  /** NXDOMAIN, on behalf of the zone whose name starts there in the key. */
  | { readonly kind: "inside"; readonly zoneAt: number };

/** Who is asked for which names that are not ours: the stub domain with the longest suffix, else what every host asks, but for names that stay inside. */
export class Routes<Group> {
  readonly #default: Group;
  readonly #bySuffix: ReadonlyMap<NameKey, Group>;

  constructor(ofDefault: Group, stubs: readonly { readonly suffix: string; readonly group: Group }[]) {
    this.#default = ofDefault;
    this.#bySuffix = new Map(
      stubs.flatMap(({ suffix, group }) => {
        const key = keyOfName(suffix);
        return key === undefined ? [] : [[key, group] as const];
      }),
    );
  }

  of({ key, labels, type }: Pick<Query, "key" | "labels" | "type">): Route<Group> {
    if (this.#bySuffix.size > 0)
      for (const at of labels) {
        const group = this.#bySuffix.get(at === 0 ? key : key.slice(at));
        if (group !== undefined) return { kind: "ask", group };
      }
    const zoneAt = keptInside(key, labels, type);
    return zoneAt === undefined ? { kind: "ask", group: this.#default } : { kind: "inside", zoneAt };
  }
}
