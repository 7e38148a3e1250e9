import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { decodeLine, lineOf } from "#agent/checked-line.ts";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { describeError } from "#proto/error.ts";
import type { DnsLog, ResponderFacts } from "./responder.ts";

/**
 * The zone on disk, as a thread is told it (docs/adr/0325): it answers from this while the agent still reads and checks its state. Lines of `checksum
 * JSON`: a header that says whose zone it is, then pieces of it. Each line is right by itself: behind one that is damaged nothing is read.
 */
export interface ImagePlace {
  readonly file: string;
  /** Another host's has other addresses in front. */
  readonly node: string;
  /** How long questions about unknown names wait for the state at the start; absent = 3 s. */
  readonly patienceMs?: number;
}

/** Counts up when records are written otherwise. */
const FORMAT = 1;
const MAX_BYTES = 128 << 20;
/** In a piece; one of them may have 250 itself. */
const PIECE_RECORDS = 250;
const NEWLINE = 10;

export interface ImageDeps {
  readonly place: ImagePlace;
  readonly facts: ResponderFacts;
  readonly log: DnsLog;
}

/** Hands out what the image says, piece by piece, with room for answers in between, as long as `take` wants more. Nothing of an image of others. */
export async function readImage({ place, facts, log }: ImageDeps, take: (changes: readonly DnsChange[]) => boolean): Promise<void> {
  try {
    const lines = linesOf(await bytesOf(place.file));
    const { value: first } = lines.next();
    if (first === undefined) return;
    if (JSON.stringify(decodeLine(first)) !== headerOf(place, facts)) {
      log.info({ file: place.file }, "the saved names are of others, or damaged: not used");
      return;
    }
    let pieces = 0;
    for (const line of lines) {
      const changes = decodeLine(line);
      if (!Array.isArray(changes)) throw new Error(`piece ${pieces + 1} is damaged`);
      if (!take(changes as DnsChange[])) return; // checksummed: we wrote them
      pieces++;
      await nextTurn();
    }
    log.info({ pieces }, "answering what was saved of the names");
  } catch (error) {
    log.warn({ file: place.file, error: describeError(error) }, "the saved names cannot be read whole");
  }
}

/** Whole or not at all, beside the one that is there, with room for answers in between. */
export async function writeImage(place: ImagePlace, facts: ResponderFacts, changes: Iterable<DnsChange>): Promise<void> {
  const temporary = `${place.file}.new`;
  await mkdir(dirname(place.file), { recursive: true, mode: 0o700 });
  await rm(temporary, { force: true });
  {
    await using file = await open(temporary, "wx", 0o600);
    await file.appendFile(lineOf(headerOf(place, facts)));
    for (const piece of piecesOf(changes)) await file.appendFile(lineOf(JSON.stringify(piece)));
    await file.sync();
  }
  await rename(temporary, place.file);
}

/** What the zone follows from besides its changes. */
function headerOf({ node }: ImagePlace, { domain, moreDomains = [], serviceCidrs, dnsIps }: ResponderFacts): string {
  return JSON.stringify({ format: FORMAT, node, domain, moreDomains, serviceCidrs, dnsIps });
}

async function bytesOf(file: string): Promise<Buffer> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  );
  if (size > MAX_BYTES) throw new Error(`it has ${size} bytes, more than can be`);
  return size === 0 ? Buffer.alloc(0) : readFile(file);
}

/** One at a time: not all of them are there as text. What follows the last line's end was not written whole. */
function* linesOf(bytes: Buffer): Generator<string, undefined> {
  for (let at = 0, end = bytes.indexOf(NEWLINE); end !== -1; at = end + 1, end = bytes.indexOf(NEWLINE, at))
    yield bytes.toString("utf8", at, end);
  return undefined;
}

function* piecesOf(changes: Iterable<DnsChange>): Generator<readonly DnsChange[]> {
  let piece: DnsChange[] = [];
  let records = 0;
  for (const change of changes) {
    piece.push(change);
    records += 1 + change.records.length;
    if (records < PIECE_RECORDS) continue;
    yield piece;
    [piece, records] = [[], 0];
  }
  if (piece.length > 0) yield piece;
}
