import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { glob } from "node:fs/promises";

/** What `deploy/` holds is copied by people, so nothing in it may drift apart. */

const folder = join(import.meta.dirname, "../deploy");
const read = (path: string): Promise<string> => readFile(join(folder, path), "utf8");

interface CloudConfig {
  readonly write_files: readonly { readonly path: string; readonly permissions: string; readonly content: string }[];
}

test.for(["server", "agent"])("the cloud-init file of a %s holds fairlead-setup word for word, executable", async (role) => {
  const text = await read(`cloud-init/${role}.yaml`);
  expect(text.startsWith("#cloud-config\n")).toBe(true); // else cloud-init takes it for something else
  const { write_files: files } = parse(text) as CloudConfig; // the test is whether it is one
  expect(files).toEqual([{ path: "/usr/local/sbin/fairlead-setup", permissions: "0755", content: await read("fairlead-setup") }]);
});

test("every YAML file of the Ansible role is a list of named tasks, or settings", async () => {
  const files = await Array.fromAsync(glob("ansible/**/*.yml", { cwd: folder }));
  expect(files.length).toBeGreaterThan(5);
  for (const file of files) {
    const parsed: unknown = parse(await read(file));
    if (!/tasks|handlers|site/.test(file)) expect(parsed, file).toBeTypeOf("object");
    else expect(parsed, file).toSatisfy((tasks: unknown) => Array.isArray(tasks) && tasks.every((task: object) => "name" in task));
  }
});
