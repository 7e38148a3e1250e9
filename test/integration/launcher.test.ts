import { execa } from "execa";
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

// A checkout with the real launcher and set-up, whose "npm" notes that it ran and installs a "node" that prints its arguments.
const fakeNpm = `#!/bin/sh
echo "npm $*" >>npm.log
rm -rf node_modules
sleep 0.3 # long enough for a second launcher to come in between
mkdir -p node_modules/.bin
printf '#!/bin/sh\\necho node "$@"\\n' >node_modules/.bin/node
chmod +x node_modules/.bin/node
`;

async function program(path: string, text: string): Promise<void> {
  await writeFile(path, text);
  await chmod(path, 0o755);
}

async function createCheckout(programs: Record<string, string> = { npm: fakeNpm }) {
  const base = await mkdtemp(join(tmpdir(), "fairlead-launcher-"));
  onTestFinished(() => rm(base, { recursive: true, force: true }));
  const root = join(base, "check out");
  const bin = join(base, "bin");
  for (const folder of [join(root, "tools"), join(root, "cli"), bin]) await mkdir(folder, { recursive: true });
  await copyFile("fairlead", join(root, "fairlead"));
  await copyFile("tools/setup.sh", join(root, "tools/setup.sh"));
  await writeFile(join(root, "package-lock.json"), "{}\n");
  for (const tool of ["sh", "cat", "cmp", "cp", "dirname", "flock", "id", "mkdir", "readlink", "rm", "chmod", "sleep", "touch"])
    await symlink(`/usr/bin/${tool}`, join(bin, tool));
  for (const [name, text] of Object.entries(programs)) await program(join(bin, name), text);
  const start = (args: string[], launcher = join(root, "fairlead"), env: Record<string, string> = {}) =>
    execa(launcher, args, { reject: false, extendEnv: false, env: { PATH: bin, FAIRLEAD_MEMORY: "large", ...env } });
  const npmRuns = async () => (await readFile(join(root, "npm.log"), "utf8")).trim().split("\n").length;
  return { base, root, start, npmRuns };
}

test("the first start installs the dependencies, says so on stderr, and the second start installs nothing", async () => {
  const { root, start, npmRuns } = await createCheckout();
  const first = await start(["get", "a b"]);
  expect(first.stdout).toBe(`node ${root}/cli/main.ts get a b`);
  expect(first.stderr).toContain("npm ci: installing the dependencies");
  const second = await start(["get"]);
  expect(second).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await npmRuns()).toBe(1);
});

test.for(["server", "agent"])("%s is started by its own main, with Node's settings before it and its arguments after", async (part) => {
  const { root, start } = await createCheckout();
  const { stdout } = await start([part, "--log-level", "a b"]);
  expect(stdout).toMatch(/^node --max-semi-space-size=\d+ --heap-growing-percent=\d+ --import=/);
  expect(stdout.endsWith(` ${root}/${part}/main.ts --log-level a b`)).toBe(true);
});

test("on a machine with little memory both take less of it, also at the price of processor time", async () => {
  const { start } = await createCheckout();
  for (const part of ["server", "agent"])
    expect((await start([part], undefined, { FAIRLEAD_MEMORY: "small" })).stdout).toMatch(
      /^node --max-semi-space-size=[12] --heap-growing-percent=20 --optimize-for-size (--no-[a-z-]+ )*--import=/,
    );
});

test("a changed lockfile is installed, one that was only touched is not", async () => {
  const { root, start, npmRuns } = await createCheckout();
  await start([]);
  const later = new Date(Date.now() + 60_000);
  await utimes(join(root, "package-lock.json"), later, later);
  await start([]);
  expect(await npmRuns()).toBe(1);
  await writeFile(join(root, "package-lock.json"), '{ "changed": true }\n');
  await utimes(join(root, "package-lock.json"), later, later);
  expect((await start([])).stderr).toContain("package-lock.json has changed");
  expect(await npmRuns()).toBe(2);
});

test("two launchers at once install once, and both start", async () => {
  const { start, npmRuns } = await createCheckout();
  const both = await Promise.all([start(["one"]), start(["two"])]);
  expect(both.map((result) => result.exitCode)).toEqual([0, 0]);
  expect(await npmRuns()).toBe(1);
});

test("the launcher finds its checkout through absolute and relative symlinks", async () => {
  const { base, root, start } = await createCheckout();
  await mkdir(join(base, "opt"));
  await symlink("../check out/fairlead", join(base, "opt/relative"));
  await symlink(join(base, "opt/relative"), join(base, "absolute"));
  expect((await start(["status"], join(base, "absolute"))).stdout).toBe(`node ${root}/cli/main.ts status`);
});

test("without npm the launcher says what to install and exits 69", async () => {
  const { start } = await createCheckout({});
  const result = await start(["status"]);
  expect(result.exitCode).toBe(69);
  expect(result.stderr).toContain("apt-get install npm");
});

test("a failed npm ci starts nothing and exits 69", async () => {
  const { start } = await createCheckout({ npm: "#!/bin/sh\necho no route to registry >&2\nexit 1\n" });
  const result = await start(["status"]);
  expect(result).toMatchObject({ exitCode: 69, stdout: "" });
  expect(result.stderr).toContain("no route to registry");
});

test.for([
  { version: "v20.20.2", starts: false },
  { version: "v24.11.9", starts: false },
  { version: "v24.12.0", starts: true },
  { version: "v26.0.1", starts: true },
])("where no Node comes as a dependency, the PATH's $version is taken: $starts", async ({ version, starts }) => {
  const node = `#!/bin/sh\nif [ "$1" = --version ]; then echo ${version}; else echo system node; fi\n`;
  const { start } = await createCheckout({ npm: "#!/bin/sh\nmkdir -p node_modules\n", node });
  const result = await start([]);
  expect(result.exitCode).toBe(starts ? 0 : 69);
  expect(starts ? result.stdout : result.stderr).toContain(starts ? "system node" : `found ${version}`);
});
