import { AppError, isAppError } from "#proto/error.ts";
import { kinds, type AnyObject } from "#proto/kinds.ts";
import { ClaimTaken, conflict } from "#server/store/errors.ts";
import type { StoreKey } from "#server/store/store.ts";
import type { Draft } from "./draft.ts";

/** Writers of one object: they wait for each other here, whoever loses to another tries again, and what a caller has asked for is held to. */

/** Each attempt loses only to a write that succeeded. */
const MAX_ATTEMPTS = 32;

/** Makes writers of the same key wait for each other. */
export interface Turns {
  readonly inTurn: <T>(key: string, work: () => Promise<T>) => Promise<T>;
}

export function writeInTurn<T>({ inTurn }: Turns, { kind, namespace, name }: StoreKey, attempt: () => Promise<T>): Promise<T> {
  return inTurn(`${kind}/${namespace}/${name}`, () => withRetries(attempt));
}

/** Lost against another writer: worth another attempt; `reason` is what the caller is told after too many. */
export class Raced extends Error {
  readonly reason: AppError;
  constructor(reason: AppError) {
    super(reason.message);
    this.reason = reason;
  }
}

export async function withRetries<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = MAX_ATTEMPTS; ; left--) {
    try {
      return await attempt();
    } catch (error) {
      const raced = error instanceof Raced;
      if (!raced && !isRace(error)) throw error;
      if (left <= 1) throw raced ? error.reason : error;
    }
  }
}

/** The store's own Conflict: somebody wrote between our reading and our writing. The caller's preconditions are not checked by the store. */
function isRace(error: unknown): boolean {
  return error instanceof ClaimTaken || (isAppError(error, "Conflict") && !(error instanceof PreconditionFailed));
}

/** What the caller asked for does not hold, and will not by trying again. */
export class PreconditionFailed extends AppError {}

export function checkPreconditions(key: StoreKey, current: AnyObject, { metadata }: Pick<Draft, "metadata">): void {
  const { uid, resourceVersion } = metadata;
  if (resourceVersion !== undefined && resourceVersion !== "" && resourceVersion !== current.metadata.resourceVersion) {
    const stale = conflict(key);
    throw new PreconditionFailed("Conflict", stale.message, { subject: stale.subject, hint: "get it again and re-apply your change" });
  }
  if (uid !== undefined && uid !== "" && uid !== current.metadata.uid) throw uidMismatch(key, typeof uid === "string" ? uid : "", current);
}

export function uidMismatch({ kind, name }: StoreKey, wanted: string, current: AnyObject): PreconditionFailed {
  return new PreconditionFailed(
    "Conflict",
    `Operation cannot be fulfilled on ${kind} "${name}": the UID in the precondition (${wanted.slice(0, 64)}) does not match the UID in record (${current.metadata.uid ?? ""}). The object might have been deleted and then recreated`,
    { subject: { name, group: kinds[kind].group, kind: kinds[kind].plural } },
  );
}
