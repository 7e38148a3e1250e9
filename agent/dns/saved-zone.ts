import { describeError } from "#proto/error.ts";
import { readImage, writeImage, type ImagePlace } from "./image.ts";
import type { DnsLog, DnsResponder, ResponderFacts } from "./responder.ts";

/** So long after a change at the latest: writing 10,000 services is 0.1 s of the thread's time. */
const WRITE_EVERY_MS = 30_000;

/** Keeps the zone of a responder on disk, for the next start. */
export interface SavedZone {
  /** Tells the responder what is on disk, until it hears better. */
  restore(): Promise<void>;
  /** The zone is another now. */
  changed(): void;
  /** Writes what is still to be written. */
  close(): Promise<void>;
}

export interface SavedZoneDeps {
  readonly place: ImagePlace;
  readonly facts: ResponderFacts;
  readonly responder: Pick<DnsResponder, "restore" | "everything">;
  readonly log: DnsLog;
}

export function createSavedZone({ place, facts, responder, log }: SavedZoneDeps): SavedZone {
  let due: NodeJS.Timeout | undefined;
  let writing: Promise<void> | undefined;
  let failed = false;

  async function write(): Promise<void> {
    due = undefined;
    try {
      await writeImage(place, facts, responder.everything());
      failed = false;
    } catch (error) {
      // The next start is slower then, and that is all.
      if (!failed) log.warn({ file: place.file, error: describeError(error) }, "cannot save the names");
      failed = true;
    }
  }

  return {
    restore: () => readImage({ place, facts, log }, (changes) => responder.restore(changes)),
    changed() {
      due ??= setTimeout(() => void (writing = write()), WRITE_EVERY_MS).unref();
    },
    async close() {
      await writing;
      if (due === undefined) return;
      clearTimeout(due);
      await write();
    },
  };
}
