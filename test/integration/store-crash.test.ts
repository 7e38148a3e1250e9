import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openStore } from "#server/store/sqlite.ts";
import type { Store } from "#server/store/store.ts";
import { tempDir } from "#test/temp-store.ts";

const writer = join(import.meta.dirname, "store-crash-writer.ts");
const ROUNDS = [1, 40, 250, 600, 1500]; // acknowledgements before the kill

test("what was acknowledged is there after the server was killed, also in the midst of compactions", async () => {
  const dir = tempDir();
  const path = join(dir, "f.db");
  const acknowledgements = join(dir, "acknowledged");
  writeFileSync(acknowledgements, "");
  let newest = 0;
  for (const [round, wanted] of ROUNDS.entries()) {
    await killAfter(wanted, [path, acknowledgements, String(round)], acknowledgements);
    const store = openStore({ path });
    try {
      expect(store.revision).toBeGreaterThan(newest);
      await expectWhole(store, acknowledged(acknowledgements));
      newest = store.revision;
    } finally {
      await store.close();
    }
  }
}, 60_000);

async function killAfter(wanted: number, args: readonly string[], acknowledgements: string): Promise<void> {
  const child = spawn(process.execPath, [writer, ...args], { stdio: ["ignore", "inherit", "inherit"] });
  const ended = once(child, "exit");
  onTestFinished(() => void child.kill("SIGKILL"));
  const before = acknowledged(acknowledgements).length;
  await expect.poll(() => acknowledged(acknowledgements).length - before, { timeout: 20_000, interval: 2 }).toBeGreaterThanOrEqual(wanted);
  child.kill("SIGKILL");
  expect(await ended).toEqual([null, "SIGKILL"]);
}

/** Whole lines only: the kill may have cut the last one, whose writer had no answer yet. */
function acknowledged(path: string): { revision: number; name: string }[] {
  const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => {
    const [revision = "", name = ""] = line.split(" ");
    return { revision: Number(revision), name };
  });
}

async function expectWhole(store: Store, written: readonly { revision: number; name: string }[]): Promise<void> {
  const { items } = await store.list({ kind: "Service" });
  const found = new Map(items.map(({ metadata }) => [metadata.name, Number(metadata.resourceVersion)]));
  expect(written.filter(({ name, revision }) => found.get(name) !== revision)).toEqual([]);
  expect(new Set(found.values()).size).toBe(items.length);
  expect(Math.max(...found.values())).toBe(store.revision);
  expect(await store.claims("")).toEqual([...found.keys()].toSorted());
  const seen: number[] = [];
  for (let since = store.compactedRevision; since < store.revision;) {
    const { changes, revision } = await store.changesSince(since, { limit: 100 });
    for (const change of changes) seen.push(change.revision);
    since = revision;
  }
  expect(seen).toEqual(Array.from({ length: store.revision - store.compactedRevision }, (_, i) => store.compactedRevision + 1 + i));
}
