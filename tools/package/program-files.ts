import { execa } from "execa";
import { chmod, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";
import { ARCHITECTURES, type Architecture } from "./architectures.ts";
import { bundle } from "./bundle.ts";
import { makeJavaScript } from "./javascript.ts";

// What goes to /opt/fairlead: the sources that run, without their types, the libraries that they need, and Node, for one architecture. Nothing is compiled: Node
// comes as an npm package for each architecture, and better-sqlite3 brings a library for each (docs/adr/0011, 0333, 0335).

const root = join(import.meta.dirname, "../..");
const PARTS = ["proto", "server", "cli"];
/** What runs on every host, small ones too, and for ever. */
const BUNDLED = ["agent/main.ts", "agent/dns/member.ts", "agent/dns-command/main.ts"];
const SINGLE = ["fairlead", "package.json", "tools/compile-cache.js", "tools/notify-socket.pl"];
/** What only readers, compilers and authors of a library want. Licences stay; Node runs no TypeScript of a library. */
const NOT_RUN = /\.([cm]?ts|map|md|markdown|flow|tsbuildinfo|gyp|gypi)$|\.(test|spec)\.[cm]?js$/;
const NOT_RUN_FOLDER = /^(tests?|__tests__|benchmarks?|examples?|\.github|\.vscode|\.husky)$/;
const LICENCE = /licen[cs]e|copying|notice/i;

export async function layOutProgram(
  into: string,
  { architecture, version }: { architecture: Architecture; version: string },
): Promise<void> {
  await layOutOwn(into);
  await installLibraries(into, architecture);
  const facts = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as Record<string, unknown>; // our own file
  await writeFile(join(into, "package.json"), `${JSON.stringify({ ...facts, version, devDependencies: undefined }, undefined, 2)}\n`);
  await writeFile(join(into, "node_modules/.fairlead-lock"), ""); // for the launcher: all is installed, and there is no lockfile that could be newer
}

/** All but the libraries. */
export async function layOutOwn(into: string): Promise<void> {
  await mkdir(join(into, "tools"), { recursive: true });
  for (const part of PARTS) {
    await cp(join(root, part), join(into, part), { recursive: true, filter: isRun });
    await makeJavaScript(join(into, part));
  }
  await bundle(into, BUNDLED);
  for (const file of SINGLE) await cp(join(root, file), join(into, file));
}

function isRun(path: string): boolean {
  const inside = relative(root, path).split(sep);
  return !inside.includes("golden") && !/\.test\.ts$|\.md$/.test(path);
}

async function installLibraries(into: string, architecture: Architecture): Promise<void> {
  const lockfile = join(into, "package-lock.json");
  await cp(join(root, "package-lock.json"), lockfile);
  const cpu = ARCHITECTURES[architecture];
  const flags = ["--omit=dev", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
  await execa("npm", ["ci", ...flags, "--os=linux", "--libc=glibc", `--cpu=${cpu}`], { cwd: into, stdin: "ignore", timeout: 300_000 });
  await rm(lockfile);
  const libraries = join(into, "node_modules");
  await keepOnly(join(libraries, `node-linux-${cpu}`), new Set(["bin", "LICENSE", "package.json"]));
  await keepOnly(join(libraries, "better-sqlite3"), new Set(["lib", "prebuilds", "LICENSE", "package.json"]));
  await keepOnly(join(libraries, "better-sqlite3/prebuilds"), new Set([`linux-${cpu}.node`]));
  await rm(join(libraries, ".package-lock.json"), { force: true });
  await keepOnly(join(libraries, ".bin"), new Set(["node"]));
  await removeNotRun(libraries);
  await chmod(join(libraries, `node-linux-${cpu}/bin/node`), 0o755);
}

async function keepOnly(folder: string, names: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(folder)) if (!names.has(name)) await rm(join(folder, name), { recursive: true });
}

async function removeNotRun(libraries: string): Promise<void> {
  for (const entry of await readdir(libraries, { recursive: true, withFileTypes: true }))
    if (entry.isDirectory() && NOT_RUN_FOLDER.test(entry.name))
      await rm(join(entry.parentPath, entry.name), { recursive: true, force: true });
  for (const entry of await readdir(libraries, { recursive: true, withFileTypes: true }))
    if (entry.isFile() && NOT_RUN.test(entry.name) && !LICENCE.test(basename(entry.name))) await rm(join(entry.parentPath, entry.name));
}
