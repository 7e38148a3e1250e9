import type Database from "better-sqlite3";
import type { AnyObject, KindName } from "#proto/kinds.ts";
import type { ChangeLog } from "./change-log.ts";
import type { Claims, ClaimWish } from "./claims.ts";
import { decode, encode, isUnchanged, keyOf } from "./codec.ts";
import { alreadyExists, conflict, notFound } from "./errors.ts";
import type { Committed, StoredChange, StoreKey, Write } from "./store.ts";

/** Where the history stands, and what the batch that is being written adds to it. */
export interface Pending {
  revision: number;
  logBytes: number;
  /** Bytes that the batch adds to the log. */
  written: number;
  readonly changes: StoredChange[];
}

interface Row {
  readonly revision: number;
  readonly body: string;
}
type Key = [kind: KindName, namespace: string, name: string];

/** Carries out the writes of one transaction, inside of a database transaction; throws when it may not be. */
export function createWriter(db: Database.Database, parts: { log: ChangeLog; claims: Claims; now: () => number }) {
  const { log, claims, now } = parts;
  const find = db.prepare<Key, Row>("SELECT revision, body FROM objects WHERE kind = ? AND namespace = ? AND name = ?");
  const upsert = db.prepare<[...Key, number, string]>(
    `INSERT INTO objects (kind, namespace, name, revision, body) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET revision = excluded.revision, body = excluded.body`,
  );
  const remove = db.prepare<Key>("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?");

  function record(pending: Pending, change: Omit<StoredChange, "revision" | "object">, body: string, before: Row | undefined): AnyObject {
    const object = decode(body);
    pending.revision++;
    const stored = { ...change, revision: pending.revision, object };
    const bytes = log.append(stored, body, before?.body, now());
    pending.logBytes += bytes;
    pending.written += bytes;
    pending.changes.push(stored);
    return object;
  }

  function put(object: AnyObject, before: Row | undefined, pending: Pending): AnyObject {
    if (before && isUnchanged(object, before.body, before.revision)) return decode(before.body);
    const key = keyOf(object);
    const revision = pending.revision + 1;
    const body = encode(object, revision);
    upsert.run(key.kind, key.namespace, key.name, revision, body);
    const previous = before && decode(before.body);
    return record(pending, { type: before ? "MODIFIED" : "ADDED", key, previous }, body, before);
  }

  function drop(key: StoreKey, before: Row, pending: Pending): AnyObject {
    remove.run(key.kind, key.namespace, key.name);
    const previous = decode(before.body);
    return record(pending, { type: "DELETED", key, previous }, encode(previous, pending.revision + 1), before);
  }

  return (writes: readonly Write[], pending: Pending): Committed => {
    refuseRepeats(writes);
    const steps = writes.map((write) => {
      const key = write.op === "put" ? keyOf(write.object) : write.key;
      const before = find.get(key.kind, key.namespace, key.name);
      requireExpected(write, key, before);
      return { write, key, before };
    });
    const objects: AnyObject[] = [];
    const wishes: ClaimWish[] = [];
    for (const { write, key, before } of steps) {
      if (write.op === "put") {
        objects.push(put(write.object, before, pending));
        if (write.claims !== undefined) wishes.push({ owner: key, claims: write.claims });
      } else if (write.op === "delete" && before) {
        objects.push(drop(key, before, pending));
        wishes.push({ owner: key, claims: [] });
      }
    }
    claims.assign(wishes);
    return { revision: pending.revision, objects };
  };
}

function requireExpected(write: Write, key: StoreKey, found: Row | undefined): void {
  if (write.op === "delete" && !found) throw notFound(key);
  const expect = write.expect === "create" ? 0 : write.expect;
  if (expect === undefined || expect === (found?.revision ?? 0)) return;
  if (!found) throw notFound(key);
  throw expect === 0 ? alreadyExists(key) : conflict(key);
}

/** Not every database can write a key twice in a transaction, and nobody needs it. */
function refuseRepeats(writes: readonly Write[]): void {
  if (writes.length < 2) return;
  const seen = new Set<string>();
  for (const write of writes) {
    if (write.op === "check") continue;
    const { kind, namespace, name } = write.op === "put" ? keyOf(write.object) : write.key;
    const text = `${kind}/${namespace}/${name}`;
    if (seen.has(text)) throw new Error(`a transaction may write ${text} only once`);
    seen.add(text);
  }
}
