import type { DnsChange } from "#agent/compile/dns-records.ts";
import type { ZoneChunk } from "./messages.ts";
import { PART_RECORDS, Parts } from "./parts.ts";

/** What the zone is to be told: everything there is, or what has changed. Made when its turn comes. */
export interface Batch {
  readonly changes: Iterable<DnsChange>;
  readonly all: boolean;
  readonly revision: number;
  readonly synced: boolean;
  readonly serial: number;
}

/** What is being told. */
interface Open {
  readonly batch: Batch;
  readonly rest: Iterator<DnsChange, void>;
  started: boolean;
}

/** A member that is so far behind is told everything anew instead. */
const MAX_WAITING = { batches: 1000, records: 100_000 };

/** What one member is still to be told, in order, and piece by piece: the next is sent when the last was taken. */
export class Feed {
  readonly #send: (chunk: ZoneChunk) => void;
  readonly #everything: () => Batch;
  readonly #parts = new Parts();
  #waiting: Batch[] = [];
  /** How many, but for everything, which is made when its turn comes. */
  #waitingRecords = 0;
  #open: Open | undefined;
  #isSent = false;

  constructor(send: (chunk: ZoneChunk) => void, everything: () => Batch) {
    this.#send = send;
    this.#everything = everything;
    this.#waiting.push(everything());
    this.#next();
  }

  put(batch: Batch): void {
    if (batch.all) this.#startOver(batch);
    else {
      this.#waiting.push(batch);
      this.#waitingRecords += recordsOf(batch);
      const isFarBehind = this.#waiting.length > MAX_WAITING.batches || this.#waitingRecords > MAX_WAITING.records;
      if (isFarBehind) this.#startOver(this.#everything());
    }
    this.#next();
  }

  taken(): void {
    this.#isSent = false;
    this.#next();
  }

  #startOver(everything: Batch): void {
    this.#waiting = [everything];
    this.#waitingRecords = 0;
  }

  #next(): void {
    if (this.#isSent) return;
    this.#open ??= this.#begin();
    const open = this.#open;
    if (!open) return;
    const { batch, rest } = open;
    const begins = batch.all && !open.started;
    open.started = true;
    const { changes, ends } = this.#pieceOf(rest);
    if (ends) this.#open = undefined;
    this.#isSent = true;
    this.#send({ changes, begins, ends, revision: batch.revision, synced: batch.synced, serial: batch.serial });
  }

  #begin(): Open | undefined {
    const batch = this.#waiting.shift();
    if (!batch) return undefined;
    if (batch.all) this.#parts.reset();
    else this.#waitingRecords -= recordsOf(batch);
    return { batch, rest: this.#split(batch.changes), started: false };
  }

  *#split(changes: Iterable<DnsChange>): Generator<DnsChange, void> {
    for (const change of changes) yield* this.#parts.split(change);
  }

  #pieceOf(rest: Iterator<DnsChange, void>): { readonly changes: readonly DnsChange[]; readonly ends: boolean } {
    const changes: DnsChange[] = [];
    for (let records = 0; records < PART_RECORDS;) {
      const next = rest.next();
      if (next.done === true) return { changes, ends: true };
      changes.push(next.value);
      records += next.value.records.length + next.value.names.length + 1;
    }
    return { changes, ends: false };
  }
}

function recordsOf({ changes }: Batch): number {
  let count = 0;
  for (const { records, names } of changes) count += records.length + names.length;
  return count;
}
