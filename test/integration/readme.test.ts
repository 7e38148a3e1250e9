import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parseWorkloadFile } from "#agent/workloads/manifest.ts";
import { readConfig } from "#server/config.ts";

/** The examples of README's "Run it as a service", and the units that it names; its quick start has a test of its own in test/e2e. */
async function blocks(language: string): Promise<string[]> {
  const text = await readFile(join(import.meta.dirname, "../../README.md"), "utf8");
  const [, section = ""] = /\n## Run it as a service\n(.*?)\n## /s.exec(text) ?? [];
  return [...section.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)\n\`\`\`$`, "gms"))].map(([, block = ""]) => block);
}

test("the README's server.yaml is what the server takes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-readme-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "server.yaml");
  await writeFile(file, (await blocks("yaml"))[0] ?? "");
  const config = readConfig({ argv: ["--config", file], env: {}, print: () => undefined });
  expect(config?.advertise).toEqual(["192.168.56.10", "fairlead.example.com"]);
});

test("the README's file for workloads.d is what the agent takes, with its exec check", async () => {
  const [, text = ""] = await blocks("yaml");
  const [only, ...others] = parseWorkloadFile(text, { file: "db.yaml", nodeName: "vm-1" });
  expect(others).toEqual([]);
  expect(only?.key).toBe("default/db-1");
  expect(only?.workload.spec.ports).toEqual([{ name: "postgres", port: 5432, protocol: "TCP" }]);
  expect(only?.localChecks).toMatchObject([{ exec: { command: ["/usr/bin/pg_isready", "--quiet", "--port=5432"] }, timeout: "2s" }]);
});

test("the units that the README names start server and agent, again and again, and wait for no resolver", async () => {
  for (const part of ["server", "agent"]) {
    const unit = await readFile(join(import.meta.dirname, `../../tools/package/files/fairlead-${part}.service`), "utf8");
    const settings = unit.replaceAll(/^#.*$/gm, "");
    expect(settings).toContain(`\nExecStart=/usr/bin/fairlead ${part} `);
    expect(settings).toContain("\nRestart=always\n");
    expect(settings).not.toContain("systemd-resolved");
  }
});
