import { copyFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import { openDatabase } from "#server/store/database.ts";
import { openStore } from "#server/store/sqlite.ts";
import type { Store } from "#server/store/store.ts";
import { aStoredService, serviceKey, tempDir, tempStore } from "#test/temp-store.ts";

const put = (store: Store, name: string, note = "") =>
  store.transact([{ op: "put", object: aStoredService(name, { note }), claims: [name] }]);
const open = (path: string) => {
  const store = openStore({ path });
  onTestFinished(() => store.close());
  return store;
};

describe("a restart", () => {
  test("keeps objects, claims, records, the log and the counter", async () => {
    const path = join(tempDir(), "f.db");
    const first = open(path);
    await put(first, "a");
    await put(first, "b");
    await first.records.put("keys", "ca", "secret");
    await first.close();
    const second = open(path);
    expect(second.revision).toBe(2);
    expect((await second.get(serviceKey("b")))?.metadata.resourceVersion).toBe("2");
    expect(await second.claimOwner("a")).toEqual(serviceKey("a"));
    expect(await second.records.get("keys", "ca")).toBe("secret");
    expect((await second.changesSince(0, { limit: 9 })).changes.map(({ revision }) => revision)).toEqual([1, 2]);
  });

  test("the counter goes on where it was when everything was deleted and compacted", async () => {
    const path = join(tempDir(), "f.db");
    const first = open(path);
    await put(first, "a");
    await first.transact([{ op: "delete", key: serviceKey("a") }]);
    await first.compact(2);
    await first.close();
    const second = open(path);
    expect([second.revision, second.compactedRevision]).toEqual([2, 2]);
    await put(second, "a");
    expect(second.revision).toBe(3);
    await expect(second.changesSince(1, { limit: 9 })).rejects.toMatchObject({ code: "Expired" });
  });
});

describe("the history that an agent followed", () => {
  test("goes on over restarts, up to the last revision of each run", async () => {
    const path = join(tempDir(), "f.db");
    const first = open(path);
    await put(first, "a");
    await first.close();
    const second = open(path);
    expect(second.epoch).not.toBe(first.epoch);
    await put(second, "b");
    expect(second.knowsHistory(first.epoch, 1)).toBe(true);
    expect(second.knowsHistory(first.epoch, 2)).toBe(false); // never told by that run
    expect(second.knowsHistory(second.epoch, 2)).toBe(true);
    expect(second.knowsHistory(second.epoch, 3)).toBe(false);
    expect(second.knowsHistory("unheard-of", 0)).toBe(false);
  });

  test("is not the history of a restored older backup, even when the counter has caught up", async () => {
    const dir = tempDir();
    const path = join(dir, "f.db");
    const before = open(path);
    await put(before, "a");
    await before.close();
    copyFileSync(path, join(dir, "backup.db"));
    const lost = open(path);
    await put(lost, "b");
    await put(lost, "c");
    await lost.close();
    copyFileSync(join(dir, "backup.db"), path);
    const restored = open(path);
    for (const name of ["x", "y", "z"]) await put(restored, name);
    expect(restored.revision).toBe(4);
    expect(restored.knowsHistory(lost.epoch, 3)).toBe(false);
    expect(restored.knowsHistory(lost.epoch, 1)).toBe(false);
    expect(restored.knowsHistory(before.epoch, 1)).toBe(true);
  });

  test("is forgotten with compaction, so that the table of runs stays small", async () => {
    const path = join(tempDir(), "f.db");
    const epochs: string[] = [];
    for (const name of ["a", "b", "c", "d"]) {
      const store = open(path);
      epochs.push(store.epoch);
      await put(store, name);
      await store.close();
    }
    const store = open(path);
    await store.compact(3);
    expect(epochs.map((epoch, i) => store.knowsHistory(epoch, i + 1))).toEqual([false, false, true, true]);
    await expect(store.changesSince(3, { limit: 9 })).resolves.toMatchObject({ revision: 4 });
  });
});

describe("the file", () => {
  test("is written with an fsync for each commit, by one process alone", () => {
    const db = openDatabase(join(tempDir(), "f.db"));
    onTestFinished(() => void db.close());
    const setting = (name: string) => db.pragma(name, { simple: true });
    expect(setting("journal_mode")).toBe("wal");
    expect(setting("synchronous")).toBe(2); // FULL
    expect(setting("locking_mode")).toBe("exclusive");
    expect(setting("auto_vacuum")).toBe(2); // incremental
  });

  test("is readable by its owner only", () => {
    const path = join(tempDir(), "deep/er/f.db");
    open(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(`${path}-wal`).mode & 0o777).toBe(0o600);
  });

  test("is refused to a second server, and free again after the first has stopped", async () => {
    const path = join(tempDir(), "f.db");
    const first = open(path);
    expect(() => openStore({ path })).toThrow(expect.objectContaining({ message: `the store ${path} is in use by another process` }));
    await put(first, "a"); // the refusal did not disturb the first
    await first.close();
    expect(open(path).revision).toBe(1);
  });

  test("is refused when it was written by a newer fairlead", async () => {
    const path = join(tempDir(), "f.db");
    await open(path).close();
    const db = new Database(path);
    db.pragma("user_version = 99");
    db.close();
    expect(() => openStore({ path })).toThrow(/has schema 99, but this server knows only up to \d/);
  });

  test("is refused, and left alone, when it is of another program", () => {
    const dir = tempDir();
    const db = new Database(join(dir, "other.db"));
    db.exec("CREATE TABLE theirs (x)");
    db.close();
    const before = readFileSync(join(dir, "other.db"));
    expect(() => openStore({ path: join(dir, "other.db") })).toThrow("is a database of another program");
    expect(readFileSync(join(dir, "other.db"))).toEqual(before);
    writeFileSync(join(dir, "text"), "this is a text and no database, whatever its name may say".repeat(100));
    expect(() => openStore({ path: join(dir, "text") })).toThrow("is not a database");
  });

  test("is not written beyond its bound: writers are refused, and all goes on when there is room again", async () => {
    const path = join(tempDir(), "f.db");
    const store = tempStore({ path, maxBytes: 400_000 });
    const note = "x".repeat(20_000);
    const heard: number[] = [];
    store.onCommit((changes) => heard.push(...changes.map(({ revision }) => revision)));
    let written = 0;
    const fill = async (): Promise<void> => {
      for (;;) {
        await put(store, `s${written}`, note);
        written++;
      }
    };
    await expect(fill()).rejects.toMatchObject({ code: "ServiceUnavailable", message: `there is no room left for the store in ${path}` });
    expect(written).toBeGreaterThan(3);
    expect(store.revision).toBe(written);
    const batch = await Promise.allSettled(Array.from({ length: 5 }, (_, i) => put(store, `late${i}`, note)));
    expect(batch.every(({ status }) => status === "rejected")).toBe(true);
    expect(store.revision).toBe(written);

    await store.compact(store.revision);
    await put(store, "after", note);
    expect(store.revision).toBe(written + 1);
    expect(heard).toEqual(Array.from({ length: written + 1 }, (_, i) => i + 1));
    await store.close();
    const again = open(path);
    expect(again.revision).toBe(written + 1);
    expect((await again.list({ kind: "Service" })).items).toHaveLength(written + 1);
    expect(await again.claims("late")).toEqual([]);
  });

  test("does not grow while the log turns over, and gives back what a large compaction freed", async () => {
    const path = join(tempDir(), "f.db");
    const store = tempStore({ path });
    const note = "x".repeat(10_000);
    const turn = async (): Promise<void> => {
      await Promise.all(Array.from({ length: 300 }, (_, i) => put(store, `s${i % 10}`, note + String(store.revision + i))));
      await store.compact(store.revision);
    };
    await turn();
    for (let i = 0; i < 5; i++) await turn();
    await Promise.all(Array.from({ length: 3000 }, (_, i) => put(store, `s${i % 10}`, note + String(i))));
    await store.compact(store.revision);
    const wal = statSync(`${path}-wal`).size;
    expect(wal).toBeLessThan(40e6);
    await store.close();
    expect(statSync(path).size).toBeLessThan(25e6); // 60 MB of changes were in it
  });
});
