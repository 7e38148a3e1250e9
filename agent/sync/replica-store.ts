import { mkdir, open, readdir, readFile, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { decodeLine, lineOf } from "#agent/checked-line.ts";
import { backoffMs, pause } from "#proto/backoff.ts";
import { AppError, describeError } from "#proto/error.ts";
import type { FollowedObject } from "./packed-object.ts";
import { encodeLine, IMAGE_FORMAT, ImageHeader, JournalLine } from "./replica-format.ts";
import type { ReplicaImage, ReplicaStep } from "./replica.ts";
import { createWake } from "./wake.ts";

/** What was found on disk: an image, and the steps that follow on it. Objects are checked where they are taken in. */
export interface StoredReplica {
  readonly header: ImageHeader;
  readonly objects: readonly unknown[];
  readonly steps: readonly JournalLine[];
  readonly savedAt: Date;
}

/**
 * Keeps the replica on disk. A change costs a line in the journal; the image is written anew, beside the old one and then renamed over it, when the
 * journal has outgrown its share of it. The image is flushed to the disk before it is renamed; the journal is not: what a power cut takes of its
 * end is heard again from the server. Nothing is written while nothing changes.
 */
export interface ReplicaStore {
  load(): Promise<StoredReplica | undefined>;
  append(step: ReplicaStep): void;
  /** The next write is a whole image. */
  rewrite(): void;
  /** Writes what is due, until the signal aborts; what is queued by then is still written. */
  run(signal: AbortSignal): Promise<void>;
  problems(): readonly string[];
}

export interface ReplicaStoreOptions {
  readonly folder: string;
  readonly nodeName: string;
  readonly image: () => ReplicaImage | undefined;
  readonly log: Pick<Logger, "info" | "warn">;
}

const MAX_IMAGE_BYTES = 512 << 20;
const MIN_JOURNAL_BYTES = 1 << 20;
/** Beyond so many waiting steps a whole image is the shorter way. */
const MAX_QUEUED = 2000;
const OBJECTS_PER_WRITE = 256;

export function createReplicaStore({ folder, nodeName, image, log }: ReplicaStoreOptions): ReplicaStore {
  const imageFile = join(folder, "image");
  const journalFile = (generation: number): string => join(folder, `journal-${generation}`);
  const wake = createWake();
  let queue: ReplicaStep[] = [];
  let imageDue = true;
  let generation = 0;
  let imageBytes = 0;
  let journalBytes = 0;
  let journal: FileHandle | undefined;
  let problem: string | undefined;

  async function load(): Promise<StoredReplica | undefined> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    let stored: StoredReplica | undefined;
    try {
      stored = await readImage(imageFile);
    } catch (error) {
      await setAside(error);
    }
    if (stored && stored.header.node !== nodeName) {
      log.warn({ folder, of: stored.header.node }, "the saved state is another node's: starting without it");
      stored = undefined;
    }
    if (!stored) return undefined;
    generation = stored.header.generation;
    imageBytes = (await stat(imageFile)).size;
    const read = await readJournal(journalFile(generation), stored.header);
    journalBytes = read.bytes;
    imageDue = !read.whole; // never write behind a damaged line: it would hide what follows
    const last = read.steps.at(-1);
    return { ...stored, steps: read.steps, savedAt: new Date(last?.savedAt ?? stored.header.savedAt) };
  }

  async function setAside(error: unknown): Promise<void> {
    log.warn({ folder, error: describeError(error) }, "the saved state cannot be read: set aside, starting without it");
    await rename(imageFile, join(folder, "image.damaged")).catch((failure: unknown) => {
      throw new AppError("InternalError", `cannot set ${imageFile} aside`, { cause: failure });
    });
  }

  async function writeImage(): Promise<void> {
    const now = image();
    if (!now) return;
    queue = []; // all of it is in the image
    imageDue = false; // what changes from here on follows on it
    const next = generation + 1;
    const temporary = join(folder, "image.new");
    await journal?.close();
    journal = undefined;
    await mkdir(folder, { recursive: true, mode: 0o700 }); // somebody may have deleted it
    {
      await using file = await open(temporary, "w", 0o600);
      const header = {
        format: IMAGE_FORMAT,
        generation: next,
        node: nodeName,
        savedAt: new Date().toISOString(),
        objects: now.objects.length,
      } as const;
      await file.appendFile(encodeLine({ ...header, epoch: now.epoch, revision: now.revision, cluster: now.cluster }));
      for (let at = 0; at < now.objects.length; at += OBJECTS_PER_WRITE)
        await file.appendFile(
          now.objects
            .slice(at, at + OBJECTS_PER_WRITE)
            .map(lineOf)
            .join(""),
        );
      await file.sync();
      imageBytes = (await file.stat()).size;
    }
    await rm(journalFile(next), { force: true });
    await rename(temporary, imageFile);
    generation = next;
    journalBytes = 0;
    await removeOldJournals(folder, next);
  }

  async function writeSteps(): Promise<void> {
    if (queue.length === 0) return;
    // Without the image, or with a journal that has lost its name, the steps would be written for nobody.
    const [imageThere, named, opened] = await Promise.all([inodeOf(imageFile), inodeOf(journalFile(generation)), journal?.stat()]);
    if (imageThere === undefined || (opened && named !== opened.ino)) {
      log.warn({ folder }, "the saved state was deleted: writing it anew");
      imageDue = true;
      return;
    }
    const steps = queue;
    queue = [];
    journal ??= await open(journalFile(generation), "a", 0o600);
    const savedAt = new Date().toISOString();
    const text = steps.map((step) => encodeLine({ ...step, savedAt, puts: [...step.puts] })).join("");
    await journal.appendFile(text);
    journalBytes += Buffer.byteLength(text);
    imageDue = journalBytes > Math.max(MIN_JOURNAL_BYTES, imageBytes / 2);
  }

  async function attempt(signal: AbortSignal): Promise<boolean> {
    try {
      if (!imageDue) await writeSteps();
      if (imageDue && !signal.aborted) await writeImage(); // ending takes no longer than the last steps do
      problem = undefined;
      return true;
    } catch (error) {
      imageDue = true; // whatever stands at the end of the journal now, a new image is right
      if (problem === undefined) log.warn({ folder, error: describeError(error) }, "cannot save the state of the fleet");
      problem = `cannot save the state of the fleet in ${folder}: ${describeError(error)}`;
      return false;
    }
  }

  return {
    load,
    append(step) {
      if (!imageDue) queue.push(step);
      if (queue.length > MAX_QUEUED) imageDue = true;
      wake.ring();
    },
    rewrite() {
      imageDue = true;
      wake.ring();
    },
    async run(signal) {
      for (let failures = 0; !signal.aborted;) {
        if (failures === 0) await wake.wait(signal);
        failures = (await attempt(signal)) ? 0 : failures + 1;
        if (failures > 0) await pause(backoffMs(failures, Math.random(), { baseMs: 1000, maxMs: 60_000 }), signal);
      }
      await attempt(signal); // what came while the last write was under way
      await journal?.close();
    },
    problems: () => (problem === undefined ? [] : [problem]),
  };
}

function inodeOf(file: string): Promise<number | undefined> {
  return stat(file).then(
    ({ ino }) => ino,
    () => undefined,
  );
}

/** undefined = there is none; throws when it is damaged. */
async function readImage(file: string): Promise<StoredReplica | undefined> {
  const size = await stat(file).then(
    (found) => found.size,
    () => undefined,
  );
  if (size === undefined) return undefined;
  if (size > MAX_IMAGE_BYTES) throw new AppError("InternalError", `${file} has ${size} bytes, more than can be`);
  const [first = "", ...lines] = (await readFile(file, "utf8")).split("\n");
  lines.pop(); // what stands behind the last line's end
  const header = ImageHeader.parse(decodeLine(first));
  const objects = lines.map(decodeLine);
  const damaged = objects.indexOf(undefined);
  if (damaged !== -1) throw new AppError("InternalError", `line ${damaged + 2} is damaged`);
  if (objects.length !== header.objects) throw new AppError("InternalError", `${objects.length} objects of ${header.objects}`);
  return { header, objects, steps: [], savedAt: new Date(header.savedAt) };
}

/** As many steps as follow on each other without damage; `whole` = that is all of them. */
async function readJournal(
  file: string,
  header: ImageHeader,
): Promise<{ readonly steps: readonly JournalLine[]; readonly whole: boolean; readonly bytes: number }> {
  const text = await readFile(file, "utf8").catch(() => "");
  const steps: JournalLine[] = [];
  let revision = header.revision;
  const lines = text.split("\n");
  const rest = lines.pop();
  for (const line of lines) {
    const step = JournalLine.safeParse(decodeLine(line));
    if (!step.success || step.data.previous !== revision) return { steps, whole: false, bytes: text.length };
    revision = step.data.revision;
    steps.push(step.data);
  }
  return { steps, whole: rest === "", bytes: Buffer.byteLength(text) };
}

async function removeOldJournals(folder: string, generation: number): Promise<void> {
  for (const name of await readdir(folder))
    if (name.startsWith("journal-") && name !== `journal-${generation}`) await rm(join(folder, name), { force: true });
}

/** The image and its steps as the snapshot that they amount to. No epoch: it is of an earlier format, good to serve from, and not to be resumed from. */
export function replay(stored: StoredReplica): {
  readonly epoch: string | undefined;
  readonly revision: number;
  readonly items: readonly unknown[];
} {
  const byKey = new Map<string, unknown>(stored.objects.map((object) => [nameOf(object as FollowedObject), object])); // checksummed: we wrote them
  for (const step of stored.steps) {
    for (const object of step.puts) byKey.set(nameOf(object as FollowedObject), object);
    for (const { kind, key } of step.deletes) byKey.delete(`${kind} ${key}`);
  }
  const last = stored.steps.at(-1) ?? stored.header;
  return {
    epoch: stored.header.format === IMAGE_FORMAT ? last.epoch : undefined,
    revision: last.revision,
    items: Array.from(byKey.values()),
  };
}

function nameOf({ kind, metadata }: FollowedObject): string {
  return `${kind} ${metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`}`;
}
