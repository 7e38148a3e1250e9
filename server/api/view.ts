import { columnsOf, type Column } from "#proto/columns.ts";
import { apiVersionOf, kinds, type AnyObject, type KindFacts, type KindName } from "#proto/kinds.ts";
import type { ObjectMeta } from "#proto/meta.ts";

export interface ShownObject {
  readonly metadata: ObjectMeta;
}

/** A kind that clients find here, and that is not stored as such: it follows from others. */
export interface DerivedKind extends KindFacts {
  readonly verbs: readonly string[];
  /** Whoever may do something with this one may do it with that; absent: every host may read it. */
  readonly of?: KindName;
}

/** What clients are told of a kind that they see. */
export interface Form<Shown extends ShownObject = ShownObject> {
  readonly apiVersion: string;
  readonly kind: string;
  /** Of Tables. */
  readonly columns: readonly Column<Shown>[];
}

/** How stored objects are shown to clients: as they are, or as something else that follows from them (a Workload as a Pod). */
export interface View<Shown extends ShownObject = ShownObject> extends Form<Shown> {
  show(object: AnyObject): Shown | Promise<Shown>;
}

/** Objects as they are stored. */
export function viewOf(kind: KindName): View<AnyObject> {
  return { apiVersion: apiVersionOf(kinds[kind]), kind, columns: columnsOf(kind, { wide: true }), show: (object) => object };
}
