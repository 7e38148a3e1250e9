import { chmod, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "#test/wait-for.ts";
import { readFolder, watchFolder } from "./folder.ts";

const manifest = (name: string): string => `apiVersion: fairlead.dev/v1\nkind: Workload\nmetadata: { name: ${name} }\nspec: {}\n`;

async function aFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fl-workloads-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test("of a folder those files are read that only root can write, and are files: of each other one it is said why not", async () => {
  const folder = await aFolder();
  await writeFile(join(folder, "good.yaml"), manifest("good"), { mode: 0o644 });
  await writeFile(join(folder, "open.yaml"), manifest("open"));
  await chmod(join(folder, "open.yaml"), 0o666);
  await symlink(join(folder, "good.yaml"), join(folder, "link.yaml"));
  await execa("mkfifo", [join(folder, "pipe.yaml")]);
  const { workloads, faults } = await readFolder(folder, "vm-1");
  expect([...workloads.keys()]).toEqual(["default/good"]);
  expect([...faults.keys()]).toEqual(["link.yaml", "open.yaml", "pipe.yaml"]);
  expect(faults.get("link.yaml")).toBe("is no regular file");
  expect(faults.get("pipe.yaml")).toBe("is no regular file");
  expect(faults.get("open.yaml")).toContain("may be written by others than root");
});

test("a folder that others can write is not read at all: they could put another file in the place of one that was checked", async () => {
  const folder = await aFolder();
  await writeFile(join(folder, "good.yaml"), manifest("good"), { mode: 0o644 });
  await chmod(folder, 0o777);
  const { workloads, faults } = await readFolder(folder, "vm-1");
  expect(workloads.size).toBe(0);
  expect(faults.get(folder)).toContain("may be written by others than root");
});

test("a folder that is not there is empty", async () => {
  const { workloads, faults } = await readFolder(join(await aFolder(), "none"), "vm-1");
  expect([workloads.size, faults.size]).toEqual([0, 0]);
});

test("once a watch has begun the folder is looked at, so that nothing written before is missed", async () => {
  const folder = await aFolder();
  const ending = new AbortController();
  let looks = 0;
  const ended = watchFolder(folder, () => looks++, ending.signal);
  await waitFor(() => looks === 1, { what: "the first look" });
  await writeFile(join(folder, "a.yaml"), "");
  await waitFor(() => looks >= 2, { what: "the file" });
  ending.abort();
  await ended;
});
