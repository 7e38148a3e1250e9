/** `npm run package`: fairlead_VERSION_ARCH.deb and .tar.gz in dist/. */
import { execa } from "execa";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ARCHITECTURES, isArchitecture } from "./architectures.ts";
import { buildDeb, buildTar, layOutTree, type Manuals, type Release } from "./deb.ts";
import { helpPages } from "../reference/help-pages.ts";
import { layOutProgram } from "./program-files.ts";

const root = join(import.meta.dirname, "../..");
const USAGE = `usage: npm run package -- [--arch amd64,arm64] [--out dist] [--compression xz|zstd|gzip|none] [--deb-only]
Needs dpkg-deb, tar and npm (the registry for Node of the other architecture). Two builds of one commit are the same bytes:
times are SOURCE_DATE_EPOCH, or else those of the last commit.`;

const { values } = parseArgs({
  options: {
    arch: { type: "string", default: Object.keys(ARCHITECTURES).join(",") },
    out: { type: "string", default: join(root, "dist") },
    compression: { type: "string", default: "xz" },
    "deb-only": { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});
process.exitCode = await main();

async function main(): Promise<number> {
  const architectures = values.arch.split(",");
  if (values.help || !architectures.every(isArchitecture)) {
    process.stdout.write(`${USAGE}\n`);
    return values.help ? 0 : 2;
  }
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string }; // our own file
  const epoch = await sourceDateEpoch();
  const manuals = await helpPages();
  await mkdir(values.out, { recursive: true });
  for (const architecture of architectures) await build({ version, architecture, epoch }, manuals);
  return 0;
}

async function build(release: Release, manuals: Manuals): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-package-"));
  try {
    const [program, tree] = [join(folder, "program"), join(folder, "tree")];
    await layOutProgram(program, release);
    await layOutTree(tree, program, { epoch: release.epoch, manuals });
    process.stdout.write(`${await buildDeb(tree, release, { out: values.out, compression: values.compression })}\n`);
    if (!values["deb-only"]) process.stdout.write(`${await buildTar(tree, release, { out: values.out })}\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function sourceDateEpoch(): Promise<number> {
  const given = process.env["SOURCE_DATE_EPOCH"];
  if (given !== undefined && /^\d+$/.test(given)) return Number(given);
  const { stdout, exitCode } = await execa("git", ["log", "-1", "--format=%ct"], { cwd: root, reject: false });
  return exitCode === 0 && /^\d+$/.test(stdout.trim()) ? Number(stdout) : 0;
}
