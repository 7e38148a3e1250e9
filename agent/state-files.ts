import type { Dirent } from "node:fs";
import { lstat, readdir, readFile, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { TABLE_MARKS } from "./dataplane/leftovers.ts";

/**
 * What this agent leaves in its state folder, by name: the only place that knows all of it. The operator names the folder, so there may be other things
 * in it, which are nobody's but the operator's.
 */
const OWN_FILES: ReadonlySet<string> = new Set([
  "agent.sock",
  ...Object.values(TABLE_MARKS),
  ...["sysctls.json", "upstreams.json", "dns-zone"].flatMap((name) => [name, `${name}.new`]),
]);
const REPLICA = "replica";
const OWN_REPLICA_FILE = /^(image|image\.new|image\.damaged|journal-\d+)$/;
/** We write one with dashes, systemd one without. */
const MACHINE_ID = "machine-id";
const OWN_MACHINE_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n$/;

/** As in tools/compile-cache.js. */
export const COMPILE_CACHE = "/var/cache/fairlead";
const NODES_CACHE = /^v\d+\.\d+\.\d+-/;

export interface OwnFiles {
  readonly files: readonly string[];
  /** To be removed where they are empty then, in this order. */
  readonly folders: readonly string[];
  /** For people: the folder itself where nothing else is in it, else each file. */
  readonly names: readonly string[];
  /** What else is in the folder, relative to it. */
  readonly others: readonly string[];
}

export async function ownFilesIn(stateDir: string): Promise<OwnFiles> {
  const entries = await entriesOf(stateDir);
  if (!entries) return { files: [], folders: [], names: [], others: [] };
  const files: string[] = [];
  const others: string[] = [];
  const replica = join(stateDir, REPLICA);
  for (const entry of entries) {
    if (entry.name === REPLICA && entry.isDirectory())
      for (const { name } of (await entriesOf(replica)) ?? [])
        if (OWN_REPLICA_FILE.test(name)) files.push(join(replica, name));
        else others.push(join(REPLICA, name));
    else if (await isOwn(stateDir, entry)) files.push(join(stateDir, entry.name));
    else others.push(entry.name);
  }
  return {
    files,
    folders: [replica, stateDir],
    names: others.length === 0 ? [stateDir] : files.toSorted(),
    others: others.toSorted(),
  };
}

export async function removeOwnFiles({ files, folders }: OwnFiles): Promise<void> {
  for (const file of files) await rm(file, { force: true });
  for (const folder of folders) await rmdir(folder).catch(unlessInUse);
}

/** The folder of compiled code of server and agent, which is made anew where it is missing. */
export async function compileCacheThere(folder = COMPILE_CACHE): Promise<string | undefined> {
  const found = await lstat(folder).catch(() => undefined);
  return found?.isDirectory() && found.uid === process.getuid?.() ? folder : undefined;
}

/** The folder, when it is gone. */
export async function removeCompileCache(folder = COMPILE_CACHE): Promise<string | undefined> {
  if ((await compileCacheThere(folder)) === undefined) return undefined;
  // A server on this host may write there meanwhile.
  for (const entry of (await entriesOf(folder)) ?? [])
    if (entry.isDirectory() && NODES_CACHE.test(entry.name))
      await rm(join(folder, entry.name), { recursive: true, force: true }).catch(unlessInUse);
  await rmdir(folder).catch(unlessInUse);
  return lstat(folder).then(
    () => undefined,
    () => folder,
  );
}

async function isOwn(stateDir: string, entry: Dirent): Promise<boolean> {
  if (entry.isDirectory()) return false;
  if (entry.name !== MACHINE_ID) return OWN_FILES.has(entry.name);
  return OWN_MACHINE_ID.test(await readFile(join(stateDir, MACHINE_ID), "utf8").catch(() => ""));
}

async function entriesOf(folder: string): Promise<Dirent[] | undefined> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Something of others is in it, or it is a mount point, or there is none. */
function unlessInUse(error: unknown): void {
  if (!["ENOTEMPTY", "EEXIST", "EBUSY", "ENOENT"].some((code) => hasCode(error, code))) throw error;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
