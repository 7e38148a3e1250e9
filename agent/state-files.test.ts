import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { COMPILE_CACHE, ownFilesIn, removeCompileCache, removeOwnFiles } from "./state-files.ts";

async function aFolder(...files: string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fl-state-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const file of files) {
    await mkdir(join(folder, file, ".."), { recursive: true });
    await writeFile(join(folder, file), "");
  }
  return folder;
}

const OURS = [
  "agent.sock",
  "upstreams.json",
  "sysctls.json",
  "dns-zone",
  "dns-zone.new",
  "replica/image",
  "replica/image.damaged",
  "replica/journal-12",
];

test("a state folder with nothing of others in it goes, and is named as one", async () => {
  const folder = await aFolder(...OURS);
  await writeFile(join(folder, "machine-id"), "0b1c2d3e-0000-4000-8000-0123456789ab\n");
  expect(await ownFilesIn(folder)).toMatchObject({ names: [folder], others: [] });
  await removeOwnFiles(await ownFilesIn(folder));
  await expect(readdir(folder)).rejects.toThrow("ENOENT");
  expect(await ownFilesIn(folder)).toMatchObject({ names: [], others: [] });
});

test("in a folder that others use too, only our own files go, by name, and what stays is named", async () => {
  const theirs = ["www/index.html", "replica/photo.jpg", "replica/journal-of-mine", "machine-id"];
  const folder = await aFolder(...OURS, ...theirs);
  await writeFile(join(folder, "machine-id"), "0123456789abcdef0123456789abcdef\n"); // as systemd writes it
  const found = await ownFilesIn(folder);
  expect(found.names).toEqual(OURS.map((name) => join(folder, name)).toSorted());
  expect(found.others).toEqual(["machine-id", "replica/journal-of-mine", "replica/photo.jpg", "www"]);
  await removeOwnFiles(found);
  const left = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  expect(left.map(({ name, parentPath }) => join(parentPath, name)).toSorted()).toEqual(
    theirs.map((name) => join(folder, name)).toSorted(),
  );
  expect((await ownFilesIn(folder)).names).toEqual([]);
});

test("of the folder of compiled code what Node made goes, and nothing else", async () => {
  const folder = await aFolder("v24.21.0-x64-0123abcd-0/1a2b", "v24.21.0-x64-0123abcd-0/3c4d", "notes.txt");
  expect(await removeCompileCache(folder)).toBeUndefined();
  expect(await readdir(folder)).toEqual(["notes.txt"]);
  await rm(join(folder, "notes.txt"));
  expect(await removeCompileCache(folder)).toBe(folder);
  expect(await removeCompileCache(folder)).toBeUndefined();
  expect(await readFile(join(import.meta.dirname, "../tools/compile-cache.js"), "utf8")).toContain(`"${COMPILE_CACHE}"`);
});

test("that somebody writes compiled code while its folder is removed is no error", async () => {
  const folder = await aFolder(...Array.from({ length: 50 }, (_, i) => `v24.21.0-x64-0123abcd-0/${i}`));
  let isRemoving = true;
  const writer = async (): Promise<void> => {
    for (let i = 0; isRemoving; i++) {
      await writeFile(join(folder, `v24.21.0-x64-0123abcd-0/more-${i}`), "").catch(() => undefined);
      await nextTurn();
    }
  };
  const writing = writer();
  await removeCompileCache(folder);
  isRemoving = false;
  await writing;
});
