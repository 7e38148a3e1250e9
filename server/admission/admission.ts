import type { Cause } from "#proto/error.ts";
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
  /** What is wrong with the form of `next` (Malformed): then nothing is filled in, and it is refused with all that the rules find as well. */
  readonly faults?: readonly Cause[] | undefined;
}

export interface Admitted<Kind extends KindName = KindName> {
  /** `next` with what the server decides filled in (addresses, ports, defaults that depend on other objects). */
  readonly object: ObjectOf<Kind>;
  /** What the object alone may hold, for Store.transact; undefined = it keeps what it holds. */
  readonly claims: readonly string[] | undefined;
  readonly warnings: readonly string[];
}

/**
 * The last word on a write, between validation and the store: who may write this object, what it may say about other objects, and what the
 * server fills in. Throws Forbidden or Invalid. It reserves nothing: a claim that somebody else took first makes the store refuse, and the
 * writer calls `admit` again, which then chooses another or says what is taken.
 */
export interface Admission {
  admit<Kind extends KindName>(request: AdmissionRequest<Kind>): Promise<Admitted<Kind>>;
}
