import { execa } from "execa";
import { join } from "node:path";
import { expect, test } from "vitest";

const run = join(import.meta.dirname, "run.ts");

test("an agent that runs has neither loaded fetch nor the whole of libraries that it uses a part of", async () => {
  const program = `
    await import(${JSON.stringify(run)});
    const { createRequire } = await import("node:module");
    const files = Object.keys(createRequire(${JSON.stringify(run)}).cache);
    const builtin = process.moduleLoadList.filter((name) => name.startsWith("NativeModule ")).map((name) => name.slice("NativeModule ".length));
    process.stdout.write(JSON.stringify([...builtin, ...files.map((file) => file.replace(/^.*node_modules./, ""))]));`;
  const { stdout } = await execa(process.execPath, ["--input-type=module", "--eval", program]);
  const loaded = JSON.parse(stdout) as string[]; // printed above
  expect(loaded).toEqual(expect.arrayContaining(["http", "https", "prom-client/lib/registry.js"]));
  for (const whole of ["internal/deps/undici/undici", "http2", "prom-client/index.js"]) expect(loaded).not.toContain(whole);
});
