import type { DnsChange, DnsRecord } from "#agent/compile/dns-records.ts";

/** Below this, what one source says goes in one piece. */
export const PART_RECORDS = 250;

/**
 * What one source says, in pieces that each cost the responder little: a headless Service may have 50,000 endpoints. Each piece is a source of its own to
 * the zone. Which piece a record is in follows from the record and the number of pieces, so that a change of one endpoint leaves no other record out
 * for a moment; where the number itself changes, the new pieces come before the old ones go.
 */
export class Parts {
  /** Of sources that had more than one. */
  readonly #counts = new Map<string, number>();

  split(change: DnsChange): readonly DnsChange[] {
    const { source, records } = change;
    const before = this.#counts.get(source) ?? 1;
    const count = records.length <= PART_RECORDS ? 1 : 2 ** Math.ceil(Math.log2(records.length / (PART_RECORDS / 2)));
    if (count === 1) this.#counts.delete(source);
    else this.#counts.set(source, count);
    const parts = count === 1 ? [change] : partsOf(change, count);
    if (count === before) return parts;
    const gone = before === 1 ? [source] : Array.from({ length: before }, (_, part) => nameOf(source, part, before));
    return [...parts, ...gone.filter((name) => count > 1 || name !== source).map((name) => ({ source: name, records: [], names: [] }))];
  }

  /** Whoever follows begins anew. */
  reset(): void {
    this.#counts.clear();
  }
}

function partsOf({ source, records, names }: DnsChange, count: number): DnsChange[] {
  const parts = Array.from({ length: count }, (): DnsRecord[] => []);
  for (const record of records) parts[hashOf(record) % count]?.push(record);
  return parts.map((some, part) => ({ source: nameOf(source, part, count), records: some, names: part === 0 ? names : [] }));
}

function nameOf(source: string, part: number, count: number): string {
  return `${source} ${part}/${count}`;
}

/** FNV-1a over the fields. */
function hashOf(record: DnsRecord): number {
  let hash = 0x811c9dc5;
  for (const field of Object.values(record)) {
    const text = String(field);
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}
