import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createFleet, type Host } from "#test/fleet/fleet.ts";
import { waitFor } from "#test/wait-for.ts";

const root = join(import.meta.dirname, "../..");

test("the README's quick start, as it stands there, ends with an answer on every host", { timeout: 120_000 }, async () => {
  const steps = blocksUnder(await readFile(join(root, "README.md"), "utf8"), "## Quick start on three hosts");
  const [server, joinAndRun, resolver, register, manifest, apply, curl, ...rest] = steps;
  expect(rest).toEqual([]);
  await using fleet = await createFleet({ hosts: 3, containersPerHost: 1 });
  const folder = await newFolder();
  const [h1, h2, h3] = fleet.hosts;
  const run = (host: Host, script = "") => host.run("sh", ["-euc", `cd ${folder}; ${script}`], { env: { PATH: searchPath(folder) } });
  const start = (host: Host, script = "") =>
    host.spawn("sh", ["-euc", `cd ${folder}; exec ${script}`], { env: { PATH: searchPath(folder) } });

  const running = await start(h1, server);
  // What it prints is what the next step needs: where it is, and the file with the token.
  const [, tokenFile = ""] = await running.waitForLine(/agent join https:\/\/\S+ --token-file (\S+)/, { timeoutMs: 30_000 });
  const { stdout: token } = await h1.run("cat", [tokenFile]);
  const [joinHost = "", runAgent = ""] = joinAndRun?.split("\n") ?? [];
  for (const host of fleet.hosts) {
    await host.run("tee", ["/run/token"], { input: token });
    await run(host, joinHost.replace("SERVER", h1.ip).replace("TOKEN", "/run/token"));
    await start(host, runAgent);
    await run(host, resolver);
    // What Docker would write there, told by what the README names for it.
    const { stdout: told } = await run(host, "fairlead dns containers -o json");
    const { dns = [], search = [] } = JSON.parse(told) as { dns?: string[]; search?: string[] };
    const file = `${dns.map((server) => `nameserver ${server}\n`).join("")}search ${search.join(" ")}\n`;
    for (const container of host.containers) await container.run("tee", ["/etc/resolv.conf"], { input: file });
  }
  const echo = await h2.spawn(process.execPath, [join(root, "test/fleet/http-echo.ts"), "--listen", `${h2.ip}:8080`, "--id", "web-1"]);
  await echo.waitForLine(/listening/);
  await run(h2, register);
  await writeFile(join(folder, "service.yaml"), manifest ?? "");
  await run(h1, apply);

  // The first good check of the workload is not something that apply waits for.
  await waitFor(async () => (await run(h3, `${curl ?? ""} --silent --fail`)).stdout.startsWith("web-1"), {
    what: "the first answer",
    timeoutMs: 10_000,
  });
  for (const client of [h1, h2, h3, ...h3.containers])
    expect((await run(client, `${curl ?? ""} --silent --fail`)).stdout).toMatch(/^web-1 /);
});

/** The fenced blocks of a section, in order, without `sudo`: the tests are root. */
function blocksUnder(markdown: string, heading: string): string[] {
  const start = markdown.indexOf(heading);
  expect(start, `the README has a section ${heading}`).toBeGreaterThan(-1);
  const end = markdown.indexOf("\n## ", start + 1);
  const section = markdown.slice(start, end === -1 ? undefined : end);
  return [...section.matchAll(/^```(?:sh|yaml)\n(.*?)\n```$/gms)].map(([, block = ""]) => block.replaceAll("sudo ", ""));
}

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-quick-start-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, "bin"));
  await symlink(join(root, "fairlead"), join(folder, "bin/fairlead"));
  return folder;
}

function searchPath(folder: string): string {
  return `${folder}/bin:${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
}
