import { execa } from "execa";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { layOutOwn } from "./program-files.ts";

const libraries = join(import.meta.dirname, "../../node_modules");
const env = { NODE_OPTIONS: "--no-strip-types" };
let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "fairlead-program-"));
  await layOutOwn(root);
  await withoutLibraries();
  return () => rm(root, { recursive: true });
});

test("the agent, its thread and its commands run by the launcher without a library beside them", async () => {
  for (const command of [["agent"], ["dns"]])
    expect((await execa(join(root, "fairlead"), [...command, "--help"], { env })).stdout).toContain("Usage: fairlead");
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
  expect((await execa(join(root, "fairlead"), ["agent", "--version"], { env })).stdout).toBe(version);
  const thread = `await import(${JSON.stringify(join(root, "agent/dns/member.js"))})`;
  const member = await execa("node", ["--input-type=module", "--eval", thread], { env, reject: false });
  expect(member.stderr).toContain("member.ts is started by members.ts, in a thread");
});

test("what V8 keeps of an agent's text takes one octet a letter, and functions have their names", async () => {
  const files = (await readdir(join(root, "agent"), { recursive: true })).filter((name) => name.endsWith(".js"));
  const texts = await Promise.all(files.map((name) => readFile(join(root, "agent", name), "utf8")));
  expect(files).toEqual(expect.arrayContaining(["main.js", "dns/member.js", "dns-command/main.js"]));
  for (const text of texts) expect(text).not.toMatch(/[^\0-\x7f]/);
  expect(texts.join("\n")).toMatch(/function watchLoop\(/);
});

test("an agent that runs loads nothing that it does not use of Node", async () => {
  const program = `
    process.on("exit", () => console.error(process.moduleLoadList.filter((name) => /deps.undici|http2/.test(name)).join()));
    process.argv.splice(1, Infinity, "agent", "--version");
    await import(${JSON.stringify(join(root, "agent/main.js"))});`;
  expect((await execa("node", ["--input-type=module", "--eval", program], { env })).stderr).toBe("");
});

test("the server and the command line run as JavaScript", async () => {
  await rm(join(root, "node_modules"), { recursive: true });
  onTestFinished(withoutLibraries);
  await symlink(libraries, join(root, "node_modules"));
  for (const command of [["server"], ["get"]])
    expect((await execa(join(root, "fairlead"), [...command, "--help"], { env })).stdout).toContain("Usage: fairlead");
});

/** All that the launcher asks for. */
async function withoutLibraries(): Promise<void> {
  await rm(join(root, "node_modules"), { recursive: true, force: true });
  await mkdir(join(root, "node_modules/.bin"), { recursive: true });
  await symlink(process.execPath, join(root, "node_modules/.bin/node"));
  await writeFile(join(root, "node_modules/.fairlead-lock"), "");
}
