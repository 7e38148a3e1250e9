/** How many replies there were, by whose name was asked for, type and code. Plain data, bounded: types that nobody knows are one. */
export interface AnswerCount {
  readonly zone: AnsweredZone;
  readonly type: string;
  readonly rcode: string;
  readonly count: number;
}

/** Ours, ours backwards, somebody else's; none: refused before the name mattered. */
const ZONES = ["cluster", "reverse", "other", "none"] as const;
export type AnsweredZone = (typeof ZONES)[number];

const TYPES: Readonly<Record<number, string>> = {
  1: "A",
  2: "NS",
  5: "CNAME",
  6: "SOA",
  12: "PTR",
  13: "HINFO",
  15: "MX",
  16: "TXT",
  28: "AAAA",
  33: "SRV",
  35: "NAPTR",
  43: "DS",
  46: "RRSIG",
  48: "DNSKEY",
  52: "TLSA",
  64: "SVCB",
  65: "HTTPS",
  251: "IXFR",
  252: "AXFR",
  255: "ANY",
};
const RCODES: Readonly<Record<number, string>> = {
  0: "NOERROR",
  1: "FORMERR",
  2: "SERVFAIL",
  3: "NXDOMAIN",
  4: "NOTIMP",
  5: "REFUSED",
  16: "BADVERS",
};

export class AnswerCounts {
  readonly #counts = new Map<number, number>();

  /** `type` undefined = it could not be read. */
  add(zone: AnsweredZone, type: number | undefined, rcode: number): void {
    const known = type !== undefined && type in TYPES ? type : 0;
    const key = (ZONES.indexOf(zone) * 256 + known) * 32 + (rcode & 31);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  rows(): readonly AnswerCount[] {
    return Array.from(this.#counts, ([key, count]) => ({
      zone: ZONES[Math.floor(key / 8192)] ?? "none",
      type: TYPES[Math.floor(key / 32) % 256] ?? "other",
      rcode: RCODES[key % 32] ?? "other",
      count,
    }));
  }
}

export function addAnswers(a: readonly AnswerCount[], b: readonly AnswerCount[]): readonly AnswerCount[] {
  const sums = new Map<string, AnswerCount>();
  for (const row of [...a, ...b]) {
    const key = `${row.zone} ${row.type} ${row.rcode}`;
    sums.set(key, { ...row, count: row.count + (sums.get(key)?.count ?? 0) });
  }
  return [...sums.values()];
}
