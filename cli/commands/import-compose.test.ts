import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { Io } from "../io.ts";
import { importComposeFile } from "./import-compose.ts";

test("variables come from the environment, and from the .env beside the file, as Compose takes them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-compose-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, "docker-compose.yml");
  await writeFile(file, 'services: { web: { ports: ["${A}:${B}", "${C:-82}"] } }\n');
  await writeFile(join(folder, ".env"), '# ours\nA=8080\nexport B="80"\nC=83 # more\n');
  let out = "";
  const io: Io = {
    env: { C: "81" },
    stdoutIsTerminal: false,
    stderrIsTerminal: false,
    stop: new AbortController().signal,
    unread: new AbortController().signal,
    out: (text) => void (out += text),
    err: () => undefined,
    readStdin: () => Promise.resolve(""),
    releaseSignals: () => undefined,
  };
  expect(await importComposeFile({ args: [file], options: { print: "services" }, io })).toBe(0);
  expect([...out.matchAll(/ port: (\d+)/g)].map(([, port]) => port)).toEqual(["80", "81"]);
});
