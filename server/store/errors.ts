import Database from "better-sqlite3";
import { AppError, type ErrorSubject } from "#proto/error.ts";
import { kinds } from "#proto/kinds.ts";
import type { StoreKey } from "./store.ts";

/** The store's refusals, in the words of Kubernetes' API server: clients compare and print them. */

/** Somebody else holds what an object wanted for itself alone. Not a stale revision: another claim may well succeed. */
export class ClaimTaken extends AppError {
  readonly claim: string;
  readonly owner: StoreKey;

  constructor(claim: string, owner: StoreKey) {
    super("Conflict", `${claim} is already held by ${nameOf(owner)}`, {
      hint: "ask for another one, or for none to have one allocated",
      subject: subjectOf(owner),
    });
    this.claim = claim;
    this.owner = owner;
  }
}

export function notFound(key: StoreKey): AppError {
  return new AppError("NotFound", `${nameOf(key)} not found`, { subject: subjectOf(key) });
}

export function alreadyExists(key: StoreKey): AppError {
  return new AppError("AlreadyExists", `${nameOf(key)} already exists`, { subject: subjectOf(key) });
}

export function conflict(key: StoreKey): AppError {
  const why = "the object has been modified; please apply your changes to the latest version and try again";
  return new AppError("Conflict", `Operation cannot be fulfilled on ${nameOf(key)}: ${why}`, { subject: subjectOf(key) });
}

/** `oldest` is the first revision that one may continue from. */
export function compactedAway(since: number, oldest: number): AppError {
  return new AppError("Expired", `too old resource version: ${since} (${oldest})`, { hint: "list again and continue from there" });
}

export function neverHappened(since: number, newest: number): AppError {
  return new AppError("Expired", `resource version ${since} is not of this history, which ends at ${newest}`, {
    hint: "the server's data may have been restored from a backup; list again and continue from there",
  });
}

/** What a caller is told when the database itself fails; anything else is passed on. */
export function storageFailure(error: unknown, path: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  const full = error.code === "SQLITE_FULL";
  const what = full ? `there is no room left for the store in ${path}` : `the store in ${path} failed: ${error.message} (${error.code})`;
  return new AppError("ServiceUnavailable", what, {
    cause: error,
    hint: full ? "free disk space on the server; nothing was written" : "look at the server's disk and its kernel log, then try again",
    retryAfterSeconds: 5,
  });
}

function nameOf({ kind, name }: StoreKey): string {
  const { plural, group } = kinds[kind];
  return `${group === "" ? plural : `${plural}.${group}`} "${name}"`;
}

function subjectOf({ kind, name }: StoreKey): ErrorSubject {
  return { name, group: kinds[kind].group, kind: kinds[kind].plural };
}
