import { readdirSync, readFileSync } from "node:fs";
import type Database from "better-sqlite3";
import { AppError } from "#proto/error.ts";

const FOLDER = new URL("./migrations/", import.meta.url);

/** Runs the migrations that this file has not had, each all or nothing. Their number is the file's user_version. */
export function migrate(db: Database.Database, path: string): void {
  const files = migrationFiles();
  const version = Number(db.pragma("user_version", { simple: true }));
  if (version > files.length)
    throw new AppError("InternalError", `the store ${path} has schema ${version}, but this server knows only up to ${files.length}`, {
      hint: "it was written by a newer fairlead: upgrade this one, or restore the backup made before the upgrade",
    });
  for (const [i, file] of files.entries()) {
    if (i < version) continue;
    const sql = readFileSync(new URL(file, FOLDER), "utf8");
    db.transaction(() => {
      db.exec(sql);
      db.pragma(`user_version = ${i + 1}`);
    }).immediate();
  }
}

/** `0001-init.sql`, `0002-….sql`, without gaps. */
function migrationFiles(): string[] {
  const files = readdirSync(FOLDER)
    .filter((file) => file.endsWith(".sql"))
    .toSorted();
  for (const [i, file] of files.entries())
    if (Number(file.slice(0, 4)) !== i + 1) throw new Error(`migration ${i + 1} is missing: found ${file}`);
  return files;
}
