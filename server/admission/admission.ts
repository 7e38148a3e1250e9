import type { KindName, ObjectOf } from "#proto/kinds.ts";
import type { Identity } from "../trust/identity.ts";

export type Operation = "create" | "update" | "status" | "delete";

export interface AdmissionRequest<Kind extends KindName = KindName> {
  readonly kind: Kind;
  readonly operation: Operation;
  readonly identity: Identity;
  /** What stands in the store; undefined for create. */
  readonly previous: ObjectOf<Kind> | undefined;
  /** What shall stand there: validated and with the schema's defaults; for delete, the same as `previous`. */
  readonly next: ObjectOf<Kind>;
  /** For delete: what the caller asked for (DeleteOptions); absent = what the object itself says. */
  readonly gracePeriodSeconds?: number | undefined;
}

export interface Admitted<Kind extends KindName = KindName> {
  /** `next` with what the server decides filled in (addresses, ports, defaults that depend on other objects). */
  readonly object: ObjectOf<Kind>;
  /** What the object alone may hold, for Store.transact. */
  readonly claims: readonly string[];
  readonly warnings: readonly string[];
  /**
   * For delete: true = do not remove it now, but put `object`, which has a deletionTimestamp: it drains, and a controller removes it when its
   * grace is over. Kubernetes answers 200 with that object.
   */
  readonly graceful?: boolean | undefined;
}

/**
 * The last word on a write, between validation and the store: who may write this object, what it may say about other objects, and what the
 * server fills in. Throws Forbidden or Invalid. It reserves nothing: a claim that somebody else took first makes the store refuse, and the
 * writer calls `admit` again, which then chooses another or says what is taken.
 */
export interface Admission {
  admit<Kind extends KindName>(request: AdmissionRequest<Kind>): Promise<Admitted<Kind>>;
}
