import type { DnsRecord, RecordData } from "#agent/compile/dns-records.ts";

/**
 * What a source says, as one text: there is one for each Service, and as objects they took more than twice as much (docs/adr/0328). The first line is
 * the name of the first record, which stands as MARK wherever it comes again. Then a line for each name and type, `TYPE NAME RECORD RECORD…`, and one with the
 * names that exist without records. Neither names nor addresses have a space or a control character in them (keyOfName sees to it).
 */
export type Said = string;

const MARK = "\x01";
const FIELD = "\t";
const NAMES = "-";

/** The names are ones that `keyOfName` takes. */
export function packSaid(records: readonly DnsRecord[], names: readonly string[]): Said {
  const byPlace = new Map<string, string[]>();
  for (const record of records) {
    const place = `${record.type} ${record.name.toLowerCase()}`;
    const found = byPlace.get(place);
    if (found) found.push(fieldsOf(record));
    else byPlace.set(place, [fieldsOf(record)]);
  }
  const lines = Array.from(byPlace, ([place, packed]) => `${place} ${packed.join(" ")}`);
  if (names.length > 0) lines.push(`${NAMES}  ${names.join(" ").toLowerCase()}`);
  const first = records[0]?.name.toLowerCase() ?? "";
  return [first, shortened(lines.join("\n"), first)].join("\n"); // `+` would keep the pieces beside the whole
}

/** The records at a name, of one type. */
export function recordsAt(said: Said, name: string, type: RecordData["type"]): readonly RecordData[] {
  const first = firstOf(said);
  const head = `\n${type} ${shortened(name, first)} `;
  const start = said.indexOf(head, first.length);
  if (start === -1) return [];
  const end = said.indexOf("\n", start + 1);
  const line = said.slice(start + head.length, end === -1 ? undefined : end);
  return line
    .replaceAll(MARK, first)
    .split(" ")
    .map((packed) => recordOf(type, packed));
}

/** Whether some of its addresses are to come first. No other field of a record is this word. */
export function saysNear(said: Said): boolean {
  return said.includes(`${FIELD}true`);
}

export function unpackSaid(said: Said): { readonly records: readonly DnsRecord[]; readonly names: readonly string[] } {
  const first = firstOf(said);
  const records: DnsRecord[] = [];
  let names: readonly string[] = [];
  for (const line of said
    .slice(first.length + 1)
    .replaceAll(MARK, first)
    .split("\n")) {
    const [type = "", name = "", ...packed] = line.split(" ");
    if (type === NAMES) names = packed;
    else if (isType(type)) for (const one of packed) records.push({ name, ...recordOf(type, one) });
  }
  return { records, names };
}

const TYPES: ReadonlySet<string> = new Set<RecordData["type"]>(["A", "AAAA", "CNAME", "NS", "PTR", "SRV", "TXT"]);
const isType = (word: string): word is RecordData["type"] => TYPES.has(word);

function firstOf(said: Said): string {
  return said.slice(0, said.indexOf("\n"));
}

function shortened(text: string, first: string): string {
  return first === "" ? text : text.split(first).join(MARK);
}

function fieldsOf(record: DnsRecord): string {
  switch (record.type) {
    case "A":
    case "AAAA": {
      const { address, weight, isNear } = record;
      return weight === undefined && isNear === undefined ? address : [address, weight ?? "", isNear ?? ""].join(FIELD);
    }
    case "CNAME":
    case "NS":
      return record.target;
    case "PTR":
      return [record.target, record.of].join(FIELD);
    case "SRV":
      return [record.target, record.weight, record.port].join(FIELD);
    case "TXT":
      return [encodeURIComponent(record.text), record.ttl].join(FIELD);
  }
}

function recordOf(type: RecordData["type"], packed: string): RecordData {
  const [first = "", second = "", third = ""] = packed.split(FIELD);
  switch (type) {
    case "A":
    case "AAAA":
      return {
        type,
        address: first,
        ...(second !== "" && { weight: Number(second) }),
        ...(third !== "" && { isNear: third === "true" }),
      };
    case "CNAME":
    case "NS":
      return { type, target: first };
    case "PTR":
      return { type, of: second === "virtual-ip" ? second : "endpoint", target: first };
    case "SRV":
      return { type, weight: Number(second), port: Number(third), target: first };
    case "TXT":
      return { type, text: decodeURIComponent(first), ttl: Number(second) };
  }
}
