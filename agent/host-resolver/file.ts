import { chmod, chown, mkdir, readFile, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseResolvConf } from "#agent/dns/upstreams.ts";
import { AppError } from "#proto/error.ts";
import { checksum, fileState, hasMark, isElsewhere, originalBehind, renderResolvConf, withoutUs, type FileState } from "./resolv-conf.ts";
import type { FileRecord, Records, ResolverRecord } from "./record.ts";

/** /etc/resolv.conf itself: taken with its original saved, and given back. A link stays the link that it is; what it leads to is written. */

export const RESOLV_CONF_FILE = "/etc/resolv.conf";

export interface FileDeps {
  readonly records: Records;
  /** The host's file; another one in tests. */
  readonly path?: string | undefined;
}

/**
 * Saves the original, which must survive whatever comes after, and says what would be written. Nothing of the host changes yet. It lies beside the file,
 * where people look and where our own list of upstreams is read from, where /etc can be written; and with the record.
 */
export async function saveOriginal(
  { records, path = RESOLV_CONF_FILE }: FileDeps,
  server: string,
  seen?: string, // what the caller has judged
): Promise<FileRecord> {
  const now = seen ?? (await readFile(path, "utf8"));
  const beside = besideOf(path);
  // Whoever made the host ask us by hand has saved what stood there, and what stands there now is no original.
  const namesUs = parseResolvConf(now).includes(server);
  const byHand = namesUs ? await readFile(beside, "utf8").catch(() => undefined) : undefined;
  const lastCopy = namesUs ? await readFile(records.backupFile, "utf8").catch(() => undefined) : undefined;
  const text = byHand ?? lastCopy ?? now;
  const ours = renderResolvConf(text, server);
  await mkdir(dirname(records.oursFile), { recursive: true });
  await writeFile(records.oursFile, ours, { flush: true });
  const copy = records.backupFile;
  await writeFile(copy, text, { flush: true });
  let backup = beside;
  if (byHand === undefined) await writeFile(beside, text, { flush: true }).catch(() => (backup = copy));
  return { backup, copy, original: checksum(text), ours: checksum(ours), real: await realpath(path) };
}

/** What keeping the original has left. */
export async function forgetOriginal({ file }: ResolverRecord): Promise<void> {
  if (file !== undefined) await rm(file.backup, { force: true });
}

export async function stateOfFile(
  { path = RESOLV_CONF_FILE }: Pick<FileDeps, "path">,
  { server, file }: ResolverRecord,
): Promise<FileState> {
  if (file === undefined) return "others'";
  const state = fileState(await readNow(path), { ...file, server });
  const real = await realpath(path).catch(() => undefined);
  return real !== undefined && ["original", "others'"].includes(state) && isElsewhere(real, file.real) ? "elsewhere" : state;
}

/** From now on the host asks us. */
export async function takeFile({ path = RESOLV_CONF_FILE }: Pick<FileDeps, "path">, { server, file }: ResolverRecord): Promise<void> {
  if (file === undefined) return;
  await writeKept(path, renderResolvConf(await readOriginal(file), server));
}

/** Byte for byte what stood there before us; what somebody else has written since is left, but for our address in it. */
export async function giveBackFile(
  { path = RESOLV_CONF_FILE }: Pick<FileDeps, "path">,
  record: ResolverRecord,
): Promise<"changed" | "unchanged"> {
  const { file, server } = record;
  if (file === undefined) return "unchanged";
  const state = await stateOfFile({ path }, record);
  if (state === "original" || state === "others'" || state === "elsewhere") return "unchanged";
  const original = await readOriginal(file);
  await writeKept(path, state === "ours" ? original : withoutUs(await readNow(path), server, original));
  return "changed";
}

/** A damaged record does not say how our text came there, and nothing that could put it back may go while it stands there. */
export async function giveBackWithoutRecord({ records, path = RESOLV_CONF_FILE }: FileDeps): Promise<"changed" | "unchanged"> {
  if (!(await namesUsByMark(path))) return "unchanged";
  const text = await readNow(path);
  for (const saved of [besideOf(path), records.backupFile]) {
    const original = await readFile(saved, "utf8").catch(() => undefined);
    const next = original === undefined ? undefined : originalBehind(text, original);
    if (next === undefined) continue;
    await writeKept(path, next);
    await rm(saved, { force: true });
    return "changed";
  }
  throw new AppError("Conflict", `${path} still names this agent, and what stood there before is not to be found`, {
    hint: `write your network's own name servers into ${RESOLV_CONF_FILE}, then run \`fairlead dns uninstall\` again`,
  });
}

export async function namesUsByMark(path = RESOLV_CONF_FILE): Promise<boolean> {
  return hasMark(await readNow(path));
}

/** A file that is not there, or a link that leads nowhere, names nobody. */
async function readNow(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return "";
    throw error;
  });
}

function besideOf(path: string): string {
  return join(dirname(path), "resolv.conf.before-fairlead");
}

/** Whichever copy is what was saved. */
async function readOriginal({ backup, copy, original }: FileRecord): Promise<string> {
  for (const path of copy === undefined ? [backup] : [backup, copy]) {
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text !== undefined && checksum(text) === original) return text;
  }
  throw new AppError("Conflict", `${backup} is not what was saved there, so it is not put back`, {
    hint: `write your network's own name servers into ${RESOLV_CONF_FILE}, then run \`fairlead dns uninstall\` again`,
  });
}

/** Whom the host would ask without us; none where its file is not ours to take. */
export async function serversKept(records: Pick<Records, "read">): Promise<readonly string[]> {
  const record = await records.read();
  if (record?.kind !== "file" || record.file === undefined) return [];
  return readOriginal(record.file).then(parseResolvConf, () => []);
}

/** At once, where the file can be replaced; in place, where it is a mount of its own or its folder cannot be written. Owner and mode stay. */
export async function writeKept(path: string, text: string): Promise<void> {
  const real = await realpath(path);
  const { mode, uid, gid } = await stat(real);
  const draft = `${real}.fairlead-new`;
  try {
    await writeFile(draft, text, { mode, flush: true });
    await chmod(draft, mode); // whatever the umask
    await chown(draft, uid, gid);
    await rename(draft, real);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined);
    if (!WRITTEN_IN_PLACE.has(codeOf(error))) throw cannotWrite(path, error); // a full disk would leave it empty
    await writeFile(real, text, { flush: true }).catch((cause: unknown) => {
      throw cannotWrite(path, cause);
    });
  }
}

/** The folder, or the mount, is in the way; not the file. */
const WRITTEN_IN_PLACE: ReadonlySet<string> = new Set(["EBUSY", "EXDEV", "EROFS", "EACCES", "EPERM"]);

const WHY: Readonly<Record<string, readonly [string, string]>> = {
  EPERM: ["it is immutable: somebody wants it to stay as it is", "`lsattr` shows it, `sudo chattr -i` makes it an ordinary file"],
  EROFS: ["it is on a read-only file system", "configure the host's names where its image is made"],
};

function cannotWrite(path: string, cause: unknown): AppError {
  const [why, hint] = WHY[codeOf(cause)] ?? ["see the cause", undefined];
  return new AppError("Conflict", `${path} was not changed: ${why}`, { cause, hint });
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
