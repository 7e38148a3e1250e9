import type { Logger } from "pino";
import type { KindName } from "#proto/kinds.ts";
import { openChangeLog, type ChangeLog } from "./change-log.ts";
import { openClaims } from "./claims.ts";
import { compact } from "./compact.ts";
import { openDatabase } from "./database.ts";
import { openEpochs } from "./epochs.ts";
import { compactedAway, neverHappened } from "./errors.ts";
import { createGroupCommit } from "./group-commit.ts";
import { createHistory, openMeta, type History } from "./history.ts";
import { openReader } from "./reader.ts";
import { openRecords } from "./records.ts";
import type { Store, StoredChanges } from "./store.ts";
import { createWriter } from "./transaction.ts";

export interface StoreOptions {
  /** The database file; made, with its directory, if it is missing. */
  readonly path: string;
  /** How large the file may become; writes beyond it are refused as on a full disk. Absent: as the disk allows. */
  readonly maxBytes?: number | undefined;
  readonly log?: Pick<Logger, "info" | "error"> | undefined;
  /** ms since 1970. */
  readonly now?: (() => number) | undefined;
}

/** Opens the SQLite driver. Throws when the file is in use by another server, newer than this one, or not ours. */
export function openStore({ path, maxBytes, log, now = Date.now }: StoreOptions): Store {
  const db = openDatabase(path, maxBytes);
  const meta = openMeta(db);
  const epochs = openEpochs(db, meta.read().revision, now());
  const history = createHistory(meta, log);
  const commits = createGroupCommit(db, path, history.batch);
  const changeLog = openChangeLog(db);
  const claims = openClaims(db);
  const write = createWriter(db, { log: changeLog, claims, now });
  const reader = openReader(db);
  const compaction = { db, meta, history, commits, changeLog, epochs };
  log?.info({ path, revision: history.revision, compacted: history.compacted, epoch: epochs.current }, "store opened");

  return {
    get revision() {
      return history.revision;
    },
    get compactedRevision() {
      return history.compacted;
    },
    epoch: epochs.current,
    records: openRecords(db, commits),
    get: async ({ kind, namespace, name }) => reader.get(kind, namespace, name),
    list: (query) => reader.list(query, history.revision),
    listTexts: async (query) => reader.listTexts(query, history.revision),
    transact: (writes) => commits.run(() => write(writes, history.pending)),
    changesSince: async (since, options) => readChanges(history, changeLog, since, options),
    compact: (revision) => compact(compaction, revision),
    compactable: async (keep) => {
      const { revision: newest, compacted: oldest, pending } = history;
      return Math.max(oldest, changeLog.compactable(keep, { newest, oldest, bytes: pending.logBytes, now: now() }));
    },
    knowsHistory: (epoch, revision) => epochs.knows(epoch, revision, history.revision),
    claimOwner: async (claim) => claims.owner(claim),
    claims: async (prefix) => claims.withPrefix(prefix),
    onCommit: (listener) => history.listen(listener),
    close: async () => {
      await commits.end();
      db.close();
    },
  };
}

function readChanges(
  history: History,
  changeLog: ChangeLog,
  since: number,
  { kinds, limit }: { readonly kinds?: ReadonlySet<KindName> | undefined; readonly limit: number },
): StoredChanges {
  if (since < history.compacted) throw compactedAway(since, history.compacted);
  if (since > history.revision) throw neverHappened(since, history.revision);
  return history.recent.read(since, { kinds, limit }) ?? changeLog.read(since, history.revision, { kinds, limit });
}
