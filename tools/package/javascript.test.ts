import { execa } from "execa";
import { cp, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { javaScriptOf, makeJavaScript } from "./javascript.ts";

test("types go, lines stay where they are, and own files are named as they are now", () => {
  const source = [
    `import type { A } from "./a.ts";`,
    `import { b } from "#proto/b.ts";`,
    `const program: URL = new URL("./c.ts", import.meta.url);`,
    `const other = await import("../d/e.ts");`,
    `const words = "node web.ts";`,
  ];
  expect(
    javaScriptOf(source.join("\n"))
      .split("\n")
      .map((line) => line.replaceAll(/ +/g, " ").trim()),
  ).toEqual([
    ``,
    `import { b } from "#proto/b.js";`,
    `const program = new URL("./c.js", import.meta.url);`,
    `const other = await import("../d/e.js");`,
    `const words = "node web.ts";`,
  ]);
});

test("all of the program runs as JavaScript, by the launcher", async () => {
  const root = await mkdtemp(join(tmpdir(), "fairlead-javascript-"));
  onTestFinished(() => rm(root, { recursive: true }));
  const checkout = join(import.meta.dirname, "../..");
  for (const name of ["fairlead", "package.json", "tools/compile-cache.js", "proto", "server", "agent", "cli"])
    await cp(join(checkout, name), join(root, name), { recursive: true, filter: (path) => !path.endsWith(".test.ts") });
  await symlink(join(checkout, "node_modules"), join(root, "node_modules"));
  for (const part of ["proto", "server", "agent", "cli"]) await makeJavaScript(join(root, part));
  expect((await readdir(join(root, "agent"), { recursive: true })).filter((name) => name.endsWith(".ts"))).toEqual([]);
  const env = { NODE_OPTIONS: "--no-strip-types" };
  for (const command of [["server"], ["agent"], ["dns"], ["get"]])
    expect((await execa(join(root, "fairlead"), [...command, "--help"], { env })).stdout).toContain("Usage: fairlead");
  const member = await execa("node", ["--input-type=module", "--eval", `await import(${JSON.stringify(join(root, "agent/dns/member.js"))})`], { env, reject: false }); // prettier-ignore
  expect(member.stderr).toContain("member.ts is started by members.ts, in a thread");
});
