import { chmodSync, closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { AppError } from "#proto/error.ts";
import { migrate } from "./migrations.ts";

/** Tells our files from other programs' SQLite files: "FLd1". */
const APPLICATION_ID = 0x46_4c_64_31;
/** Long enough for a server that is just closing the file; one that goes on is not waited for. */
const LOCK_WAIT_MS = 300;
/**
 * The WAL is copied into the file when it has so many pages (16 MiB), and begun anew. With SQLite's own 1000 pages one commit in a hundred
 * took 4 ms longer; with these one in a thousand does.
 */
const WAL_PAGES = 4000;
const PAGE_BYTES = 4096;

/** Opens the file (made if missing, mode 0600: it holds secrets) for this process alone, and brings its tables up to date. */
export function openDatabase(path: string, maxBytes?: number): Database.Database {
  createFile(path);
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { timeout: LOCK_WAIT_MS });
    configure(db, path);
    migrate(db, path);
    if (maxBytes !== undefined) db.pragma(`max_page_count = ${Math.ceil(maxBytes / PAGE_BYTES)}`);
    return db;
  } catch (error) {
    db?.close();
    throw explain(error, path);
  }
}

function configure(db: Database.Database, path: string): void {
  // The order matters: the lock before the first read, auto_vacuum before the first table. One process has the file for itself, so SQLite
  // needs no shared memory, no reader can keep the WAL from being reused, and a second server is refused instead of overwriting the first.
  db.pragma("locking_mode = EXCLUSIVE");
  db.pragma("auto_vacuum = INCREMENTAL");
  db.exec("BEGIN IMMEDIATE");
  try {
    claimFile(db, path);
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
  if (db.pragma("journal_mode = WAL", { simple: true }) !== "wal")
    throw new AppError("InternalError", `${path} cannot be switched to write-ahead logging`, {
      hint: "put the store on a local file system",
    });
  db.pragma("synchronous = FULL");
  db.pragma("foreign_keys = ON");
  db.pragma("trusted_schema = OFF");
  db.pragma("cell_size_check = ON");
  db.pragma(`wal_autocheckpoint = ${WAL_PAGES}`);
  // A WAL that one large transaction has blown up is cut back when it is next reused.
  db.pragma(`journal_size_limit = ${WAL_PAGES * PAGE_BYTES}`);
}

function claimFile(db: Database.Database, path: string): void {
  const id = db.pragma("application_id", { simple: true });
  if (id === APPLICATION_ID) return;
  const tables = db.prepare<[], number>("SELECT count(*) FROM sqlite_schema").pluck().get();
  if (id !== 0 || tables !== 0)
    throw new AppError("InternalError", `${path} is a database of another program`, {
      hint: "give the server a data directory of its own",
    });
  db.pragma(`application_id = ${APPLICATION_ID}`);
}

function createFile(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    // Only when it is missing: closing a second descriptor of the file would drop the locks that SQLite holds in this process.
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") chmodSync(path, 0o600);
    else
      throw new AppError("InternalError", `cannot create the store ${path}`, {
        cause: error,
        hint: "check the data directory and its owner",
      });
  }
}

function explain(error: unknown, path: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  if (error.code.startsWith("SQLITE_BUSY"))
    return new AppError("InternalError", `the store ${path} is in use by another process`, {
      hint: "only one server may run on a data directory: stop the other one first",
    });
  if (error.code === "SQLITE_NOTADB")
    return new AppError("InternalError", `${path} is not a database`, {
      cause: error,
      hint: "give the server a data directory of its own",
    });
  return new AppError("InternalError", `cannot open the store ${path}: ${error.message} (${error.code})`, { cause: error });
}
