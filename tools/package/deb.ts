import { execa } from "execa";
import { chmod, cp, lstat, mkdir, readdir, rm, symlink, utimes, writeFile, lutimes } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { gzipSync } from "node:zlib";
import { completionScript } from "#cli/completion/scripts.ts";
import { modelOf } from "#cli/completion/model.ts";
import type { Architecture } from "./architectures.ts";
import { commandLine } from "../reference/help-pages.ts";
import { renderControl } from "./control.ts";
import { renderManual, type HelpPage } from "./roff.ts";

// A Debian package from a laid-out program, by dpkg-deb alone; and the same files as an archive for other distributions.

const files = join(import.meta.dirname, "files");
const CONFIGURATION = ["/etc/default/fairlead-agent", "/etc/fairlead/server.yaml"];
const SCRIPTS = ["postinst", "prerm", "postrm"];

export type Manuals = readonly (readonly [HelpPage, ...HelpPage[]])[];

export interface Release {
  readonly version: string;
  readonly architecture: Architecture;
  /** Seconds since 1970: every file says so, and two builds of one source are the same bytes. */
  readonly epoch: number;
}

/** The tree as it will stand on a host; `program` becomes its /opt/fairlead. */
export async function layOutTree(tree: string, program: string, { epoch, manuals }: { epoch: number; manuals: Manuals }): Promise<void> {
  const put = async (path: string, content: string | Buffer): Promise<void> => {
    await mkdir(join(tree, path, ".."), { recursive: true });
    await writeFile(join(tree, path), content);
  };
  await mkdir(join(tree, "opt"), { recursive: true });
  await cp(program, join(tree, "opt/fairlead"), { recursive: true, verbatimSymlinks: true });
  await mkdir(join(tree, "usr/bin"), { recursive: true });
  await symlink("../../opt/fairlead/fairlead", join(tree, "usr/bin/fairlead"));
  for (const folder of ["etc/fairlead/workloads.d", "var/lib/fairlead"]) await mkdir(join(tree, folder), { recursive: true });
  const copy = async (from: string, path: string): Promise<void> => {
    await mkdir(join(tree, path, ".."), { recursive: true });
    await cp(join(files, from), join(tree, path));
  };
  await copy("server.yaml", "etc/fairlead/server.yaml");
  await copy("fairlead-agent.default", "etc/default/fairlead-agent");
  for (const unit of ["fairlead-server.service", "fairlead-agent.service"]) await copy(unit, `usr/lib/systemd/system/${unit}`);
  await copy("INSTALL", "opt/fairlead/INSTALL");
  const models = modelOf(commandLine());
  await put("usr/share/bash-completion/completions/fairlead", completionScript("bash", models));
  await put("usr/share/zsh/vendor-completions/_fairlead", completionScript("zsh", models));
  await put("usr/share/fish/vendor_completions.d/fairlead.fish", completionScript("fish", models));
  const date = new Date(epoch * 1000).toISOString().slice(0, 10);
  for (const manual of manuals) {
    const name = manual[0].name.replaceAll(" ", "-");
    const section = /-(server|agent|dns)$/.test(name) ? 8 : 1;
    await put(`usr/share/man/man${section}/${name}.${section}.gz`, gzipSync(renderManual(manual, { section, date }), { level: 9 }));
  }
  await put("usr/share/doc/fairlead/copyright", "Fairlead is under the Apache License 2.0 (/usr/share/common-licenses/Apache-2.0).\nThe libraries in /opt/fairlead/node_modules have their own, beside each.\n"); // prettier-ignore
  await settle(tree, epoch);
}

export async function buildDeb(
  tree: string,
  release: Release,
  { out, compression }: { out: string; compression: string },
): Promise<string> {
  const { version, architecture, epoch } = release;
  const control = join(tree, "DEBIAN");
  await rm(control, { recursive: true, force: true });
  await mkdir(control);
  await writeFile(join(control, "control"), renderControl({ version, architecture, installedKib: await sizeKib(tree) }));
  await writeFile(join(control, "conffiles"), `${CONFIGURATION.join("\n")}\n`);
  for (const script of SCRIPTS) {
    await cp(join(files, script), join(control, script));
    await chmod(join(control, script), 0o755);
  }
  await settle(control, epoch);
  const deb = join(out, `fairlead_${version}_${architecture}.deb`);
  const options = ["--root-owner-group", `-Z${compression}`, ...(compression === "none" ? [] : ["-z6"])];
  await execa("dpkg-deb", [...options, "--build", tree, deb], { env: { SOURCE_DATE_EPOCH: String(epoch) }, timeout: 300_000 });
  await rm(control, { recursive: true });
  return deb;
}

/**
 * For hosts without dpkg, as files/INSTALL says: to be unpacked at /. Therefore no folder is in it but ours: tar would set the mode of /var, and put a folder in the
 * place of /lib where that is a link.
 */
export async function buildTar(
  tree: string,
  { version, architecture, epoch }: Release,
  { out, level = 9 }: { out: string; level?: number },
): Promise<string> {
  const archive = join(out, `fairlead_${version}_${architecture}.tar.gz`);
  const same = [`--mtime=@${epoch}`, "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"];
  const entries = ["--no-recursion", "--null", "--files-from=-"];
  await execa("tar", [...same, `--use-compress-program=gzip -n -${level}`, "-cf", archive, ...entries], {
    cwd: tree,
    input: (await ownEntries(tree)).join("\0"),
    timeout: 300_000,
  });
  return archive;
}

async function ownEntries(tree: string): Promise<string[]> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  return entries
    .map((entry) => ({ path: relative(tree, join(entry.parentPath, entry.name)), isFolder: entry.isDirectory() }))
    .filter(({ path, isFolder }) => !isFolder || path.split(sep).includes("fairlead"))
    .map(({ path }) => path)
    .toSorted();
}

/** Modes and times that do not depend on who built it, and when. */
async function settle(folder: string, epoch: number): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isSymbolicLink()) await lutimes(path, epoch, epoch);
    else if (entry.isFile()) {
      await chmod(path, ((await lstat(path)).mode & 0o100) === 0 ? 0o644 : 0o755);
      await utimes(path, epoch, epoch);
    }
  }
  for (const entry of (await readdir(folder, { recursive: true, withFileTypes: true })).toReversed())
    if (entry.isDirectory()) await settleFolder(join(entry.parentPath, entry.name), epoch);
  await settleFolder(folder, epoch);
}

async function settleFolder(path: string, epoch: number): Promise<void> {
  await chmod(path, 0o755);
  await utimes(path, epoch, epoch);
}

async function sizeKib(tree: string): Promise<number> {
  const { stdout } = await execa("du", ["--apparent-size", "-sk", tree]);
  return Number(stdout.split("\t")[0]);
}
