import { execa } from "execa";
import { createHash } from "node:crypto";
import { appendFile, copyFile, cp, mkdir, mkdtemp, readFile, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Docker } from "./docker.ts";
import { cacheFolder, systemdTreeFolder } from "./systemd-tree.ts";

// A stand-in for node:24-bookworm-slim where no registry of images can be reached: Debian bookworm with this checkout's Node, the machine's npm, and the
// libraries of package-lock.json in npm's cache. It has the kernel's tools already, which the real image has not.

export const BASE_IMAGE = "node:24-bookworm-slim";
const checkout = join(import.meta.dirname, "../..");
const NOT_NEEDED = [
  "dev/*",
  "proc/*",
  "sys/*",
  "var/cache/*",
  "var/lib/apt/lists/*",
  "usr/share/doc/*",
  "usr/share/man/*",
  "usr/share/locale/*",
];

export async function importBaseImage(docker: Docker): Promise<void> {
  const tree = await systemdTreeFolder("resolved");
  const folder = await mkdtemp(join(tmpdir(), "fl-base-image-"));
  try {
    const own = join(folder, "own");
    await addNode(own);
    await addUser(tree, own);
    await cp(await npmCache(), join(own, "root/.npm/_cacache"), { recursive: true });
    const tar = join(folder, "image.tar");
    const left = [...NOT_NEEDED, "etc/passwd", "etc/group"].map((path) => `--exclude=./${path}`); // Docker refuses a tar that has a path twice
    await execa("tar", ["--create", "--file", tar, "--numeric-owner", "--anchored", ...left, "--directory", tree, "."]);
    const files = ["etc/passwd", "etc/group", "usr/local/bin/node", "usr/local/bin/npm", "usr/local/lib/node_modules", "root/.npm"];
    await execa("tar", ["--append", "--file", tar, "--owner=0", "--group=0", "--directory", own, ...files]);
    const changes = [
      "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "ENV npm_config_offline=true",
      'CMD ["node"]',
    ];
    await docker.cli("import", ...changes.flatMap((change) => ["--change", change]), tar, BASE_IMAGE);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function addNode(into: string): Promise<void> {
  await mkdir(join(into, "usr/local/bin"), { recursive: true });
  await copyFile(process.execPath, join(into, "usr/local/bin/node"));
  const { stdout: npm } = await execa("sh", ["-euc", 'readlink -f "$(command -v npm)"']); // …/npm/bin/npm-cli.js
  await cp(join(npm, "../.."), join(into, "usr/local/lib/node_modules/npm"), { recursive: true, dereference: true });
  await execa("ln", ["-s", "../lib/node_modules/npm/bin/npm-cli.js", join(into, "usr/local/bin/npm")]);
}

async function addUser(tree: string, into: string): Promise<void> {
  await mkdir(join(into, "etc"), { recursive: true });
  for (const file of ["etc/passwd", "etc/group"]) await copyFile(join(tree, file), join(into, file));
  await appendFile(join(into, "etc/passwd"), "node:x:1000:1000::/home/node:/bin/bash\n");
  await appendFile(join(into, "etc/group"), "node:x:1000:\n");
}

/** What the Dockerfile installs, fetched once for each lockfile. */
async function npmCache(): Promise<string> {
  const lockfile = await readFile(join(checkout, "package-lock.json"));
  const cache = join(cacheFolder, `npm-${createHash("sha256").update(lockfile).digest("hex").slice(0, 12)}`);
  if (await stat(cache).catch(() => undefined)) return cache;
  const draft = await mkdtemp(join(tmpdir(), "fl-npm-"));
  try {
    for (const file of ["package.json", "package-lock.json"]) await copyFile(join(checkout, file), join(draft, file));
    const flags = ["--omit=dev", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", join(draft, "cache")];
    await execa("npm", ["ci", ...flags], { cwd: draft, stdin: "ignore", timeout: 300_000 });
    await mkdir(dirname(cache), { recursive: true });
    await cp(join(draft, "cache/_cacache"), `${cache}.${process.pid}`, { recursive: true });
    await rename(`${cache}.${process.pid}`, cache);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return cache;
}
