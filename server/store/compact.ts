import { setImmediate as nextTurn } from "node:timers/promises";
import type Database from "better-sqlite3";
import type { ChangeLog } from "./change-log.ts";
import type { Epochs } from "./epochs.ts";
import type { GroupCommit } from "./group-commit.ts";
import type { History, Meta } from "./history.ts";

interface CompactionParts {
  readonly db: Database.Database;
  readonly meta: Meta;
  readonly history: History;
  readonly commits: GroupCommit;
  readonly changeLog: ChangeLog;
  readonly epochs: Epochs;
}

/** Pages given back to the file system at once. */
const VACUUM_PAGES = 100;
/** Free pages are used again by the next writes, so a file is only cut when it has many: over 16 MiB, and more than half of it. */
const KEEP_FREE_PAGES = 4096;

/**
 * First nobody may read that far back any more, then the rows go, a few at a time and along with whatever else is written at the moment.
 * A crash in between leaves rows that the next compaction takes.
 */
export async function compact({ db, meta, history, commits, changeLog, epochs }: CompactionParts, revision: number): Promise<void> {
  await commits.run(() => {
    const to = Math.min(revision, history.revision);
    if (to <= history.compacted) return;
    meta.writeCompacted(to);
    epochs.prune(to);
  });
  history.compactedTo(meta.read().compacted);
  await repeat(commits, () => {
    const freed = changeLog.dropSome(history.compacted);
    history.pending.logBytes -= freed ?? 0;
    return freed !== undefined;
  });
  await repeat(commits, () => {
    const free = Number(db.pragma("freelist_count", { simple: true }));
    const all = Number(db.pragma("page_count", { simple: true }));
    if (free <= KEEP_FREE_PAGES || free * 2 <= all) return false;
    db.pragma(`incremental_vacuum(${VACUUM_PAGES})`);
    return true;
  });
}

/** Does one step in each batch while it says that there is more; requests are served in between. */
async function repeat(commits: GroupCommit, step: () => boolean): Promise<void> {
  while (await commits.run(step)) await nextTurn();
}
