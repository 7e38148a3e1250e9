import { constants, type Stats } from "node:fs";
import { open, readdir, stat, watch } from "node:fs/promises";
import { join } from "node:path";
import { pause } from "#proto/backoff.ts";
import { AppError, describeError } from "#proto/error.ts";
import type { ObjectKey } from "#proto/meta.ts";
import { MAX_FILE_BYTES, parseWorkloadFile, type FileWorkload } from "./manifest.ts";

/** What the folder says now. A file with a fault says nothing, and takes nothing away either. */
export interface FolderContent {
  readonly workloads: ReadonlyMap<ObjectKey, FileWorkload>;
  /** By name of the file. */
  readonly faults: ReadonlyMap<string, string>;
}

const MAX_FILES = 1000;
const DEBOUNCE_MS = 200;
/** What no notice came of (a folder that was not there, a network file system) is seen by then. */
const LOOK_AGAIN_MS = 30_000;

export async function readFolder(folder: string, nodeName: string): Promise<FolderContent> {
  const workloads = new Map<ObjectKey, FileWorkload>();
  const faults = new Map<string, string>();
  const names = await namesIn(folder, faults);
  for (const file of names) {
    try {
      const found = parseWorkloadFile(await readChecked(join(folder, file)), { file, nodeName });
      const twice = found.find(({ key }) => workloads.has(key));
      if (twice) throw new AppError("Invalid", `${file}: the Workload ${twice.key} is in another file too`);
      for (const one of found) workloads.set(one.key, one);
    } catch (error) {
      faults.set(file, describeError(error));
    }
  }
  return { workloads, faults };
}

/** Calls when something in the folder may have changed. */
export async function watchFolder(folder: string, onChange: () => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const round = AbortSignal.any([signal, AbortSignal.timeout(LOOK_AGAIN_MS)]);
    try {
      const events = watch(folder, { signal: round });
      let next = events.next(); // from here on nothing is missed
      onChange();
      while ((await next).done !== true) {
        await pause(DEBOUNCE_MS, signal);
        onChange();
        next = events.next();
      }
    } catch {
      await pause(round.aborted ? 0 : 5000, signal); // it is not there: it may come
    }
  }
}

async function namesIn(folder: string, faults: Map<string, string>): Promise<string[]> {
  try {
    if (isWritableByOthers(await stat(folder))) {
      faults.set(
        folder,
        "may be written by others than root, who would decide what runs as root here: chown root and chmod go-w the folder",
      );
      return [];
    }
    const names = (await readdir(folder)).filter((name) => /^[^.].*\.ya?ml$/.test(name)).toSorted();
    if (names.length > MAX_FILES) faults.set(folder, `${names.length} files, and no more than ${MAX_FILES} are read`);
    return names.slice(0, MAX_FILES);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) faults.set(folder, describeError(error));
    return [];
  }
}

/** Its commands run as root: nobody else may have written it. What was checked is what is read, whatever stands at the path by then. */
async function readChecked(path: string): Promise<string> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants; // a pipe would be waited for
  await using handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((cause: unknown) => {
    throw hasCode(cause, "ELOOP") ? new AppError("Invalid", "is no regular file") : cause;
  });
  const found = await handle.stat();
  if (!found.isFile()) throw new AppError("Invalid", "is no regular file");
  if (isWritableByOthers(found))
    throw new AppError("Forbidden", "may be written by others than root, who would decide what runs as root here", {
      hint: "chown root and chmod go-w the file",
    });
  if (found.size > MAX_FILE_BYTES) throw new AppError("Invalid", `is larger than ${MAX_FILE_BYTES} bytes`);
  return await handle.readFile("utf8");
}

function isWritableByOthers({ mode, uid }: Stats): boolean {
  return (uid !== 0 && uid !== process.getuid?.()) || (mode & 0o022) !== 0;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
