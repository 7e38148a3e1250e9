import type { AnyObject, KindName } from "#proto/kinds.ts";
import type { Records } from "./records.ts";

/**
 * What is true. One interface, so that a driver for several servers (etcd) can stand beside SQLite: every write is a declared set of
 * preconditions and writes, never a function that runs inside a lock.
 *
 * Revisions: one counter for everything, +1 for each committed change, never reused, never backwards, also over restarts. The
 * `resourceVersion` of an object is the revision of its last change.
 *
 * Objects that the store gives out are frozen, deeply: they are shared with its log and its listeners. Change a copy.
 */
export interface Store {
  /** The revision of the newest committed change. */
  readonly revision: number;
  /** Names the run of history that this process writes; see `knowsHistory`. */
  readonly epoch: string;

  get(key: StoreKey): Promise<AnyObject | undefined>;
  /** Objects of a kind in the order of namespace and name, as of one revision; `after` and `limit` page through them. */
  list(query: ListQuery): Promise<ListPage>;
  /** The same as the JSON that stands in the store: whoever only hands it on need not parse it. */
  listTexts(query: ListQuery): Promise<TextPage>;
  /**
   * All or nothing, durable when it resolves. Writers that wait at the same moment share one fsync.
   * Rejects with Conflict (a precondition on a revision does not hold), AlreadyExists, NotFound, or `ClaimTaken` (errors.ts); with
   * TooManyRequests when too many writers wait, with ServiceUnavailable when the disk refuses. Then nothing was written.
   * A put that would change nothing takes no revision and makes no change. A key may be written once in a transaction.
   */
  transact(writes: readonly Write[]): Promise<Committed>;
  /**
   * Changes of the kinds after `since`, in order, at most `limit`; fewer when they are large, so compare the answer's `revision` with the
   * store's to know whether there is more. Rejects with Expired when some of them were compacted, or when `since` is in the future.
   */
  changesSince(
    since: number,
    options: { readonly kinds?: ReadonlySet<KindName> | undefined; readonly limit: number },
  ): Promise<StoredChanges>;
  /** Forgets the changes up to and including `revision`; objects stay. */
  compact(revision: number): Promise<void>;
  /** The newest revision that `compact` may take when this much of the log is to stay; the tightest of the bounds counts. */
  compactable(keep: LogBounds): Promise<number>;
  /** The newest revision that was compacted away; 0 if none. */
  readonly compactedRevision: number;
  /** Whether revision `revision` of the run `epoch` belongs to this history: false after a restore of an older backup. */
  knowsHistory(epoch: string, revision: number): boolean;
  /** Owner of a claim, or undefined. */
  claimOwner(claim: string): Promise<StoreKey | undefined>;
  /** All claims with this prefix, for allocators at start. */
  claims(prefix: string): Promise<readonly string[]>;
  /** Calls back after each commit, in order, with its changes; returns how to stop. The callback may not throw or block. */
  onCommit(listener: (changes: readonly StoredChange[]) => void): () => void;
  /** Small durable state of other parts of the server, which is no object and has no revision. */
  readonly records: Records;
  /** Ends after the writes that wait; later ones are refused. */
  close(): Promise<void>;
}

export interface LogBounds {
  readonly changes: number;
  readonly ageMs: number;
  /** Of the bodies in the log. */
  readonly bytes: number;
}

export interface StoreKey {
  readonly kind: KindName;
  /** "" for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
}

export interface ListQuery {
  readonly kind: KindName;
  readonly namespace?: string | undefined;
  readonly limit?: number | undefined;
  /** Only objects after this key. */
  readonly after?: { readonly namespace: string; readonly name: string } | undefined;
}

export interface ListPage {
  readonly items: readonly AnyObject[];
  readonly revision: number;
  readonly more: boolean;
}

export interface TextPage {
  readonly items: readonly StoredText[];
  readonly revision: number;
  readonly more: boolean;
}

export interface StoredText {
  readonly namespace: string;
  readonly name: string;
  readonly text: string;
}

export type Write =
  | {
      readonly op: "put";
      readonly object: AnyObject;
      /** create: it must not exist · a number: it must be at this revision · undefined: either way. */
      readonly expect?: "create" | number | undefined;
      /**
       * What this object alone may hold, like `ip/10.96.0.10` or `nodeport/TCP/30080`. The whole list each time; unique over all objects,
       * enforced by the database. Absent: it keeps what it holds, so that a writer of status cannot let go of an address by accident.
       */
      readonly claims?: readonly string[] | undefined;
    }
  /** Lets go of all claims of the object. */
  | { readonly op: "delete"; readonly key: StoreKey; readonly expect?: number | undefined }
  /** Writes nothing: the object must be at this revision (0: must not exist). */
  | { readonly op: "check"; readonly key: StoreKey; readonly expect: number };

export interface Committed {
  readonly revision: number;
  /** What stands in the store for each put, in the order of the writes, with its resourceVersion; for a delete, the last state. */
  readonly objects: readonly AnyObject[];
}

export interface StoredChange {
  readonly revision: number;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly key: StoreKey;
  /** For DELETED: the last state, with the revision of the deletion. */
  readonly object: AnyObject;
  /** What it was before; watches with selectors need it to tell when an object starts or stops matching. */
  readonly previous: AnyObject | undefined;
}

export interface StoredChanges {
  readonly changes: readonly StoredChange[];
  /** Everything up to here has been looked at; continue from here. */
  readonly revision: number;
}
