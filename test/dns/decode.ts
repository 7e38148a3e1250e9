import { decode } from "dns-packet";

/** What a reply says, as dns-packet reads it, which shares no code with us: `NOERROR A 10.0.0.1 | OWNER-OF-SOA + ADDITIONAL`. */
export interface Decoded {
  readonly text: string;
  readonly flags: string;
  readonly id: number;
  readonly questions: readonly string[];
  readonly hasOpt: boolean;
  readonly answers: number;
}

type Answer = NonNullable<ReturnType<typeof decode>["answers"]>[number];
const TTL = 5;

export function decodeReply(message: Buffer): Decoded {
  const packet = decode(message);
  const { answers = [], authorities = [], additionals = [], questions = [], id = 0, flag_aa, flag_tc, flag_rd, flag_ra } = packet;
  const opts = additionals.filter(({ type }) => type === "OPT");
  const extended = opts.flatMap((opt) => ("extendedRcode" in opt ? [opt.extendedRcode] : []))[0] ?? 0;
  const rcode = extended > 0 ? `EXTENDED${extended * 16}` : "rcode" in packet ? String(packet.rcode) : "?";
  const parts = [
    rcode,
    ...ordered(answers).map(textOf),
    ...authorities.flatMap((record) => ["|", record.type === "SOA" ? record.name : textOf(record)]),
    ...ordered(additionals.filter(({ type }) => type !== "OPT")).map((record) => `+ ${textOf(record)}`),
  ];
  const flags = [flag_aa && "aa", flag_tc && "tc", flag_rd && "rd", flag_ra && "ra"];
  return {
    text: parts.join(" "),
    flags: flags.filter(Boolean).join(" "),
    id,
    questions: questions.map(({ name, type }) => `${name} ${type}`),
    hasOpt: opts.length === 1,
    answers: answers.length,
  };
}

/** Aliases stay in front and in order; the rest may come in any. */
function ordered(records: readonly Answer[]): readonly Answer[] {
  const aliases = records.filter(({ type }) => type === "CNAME");
  const rest = records.filter(({ type }) => type !== "CNAME");
  return [...aliases, ...rest.toSorted((a, b) => (textOf(a) < textOf(b) ? -1 : 1))];
}

function textOf(record: Answer): string {
  if (!("data" in record)) return record.type;
  const data: unknown = record.data;
  const ttl =
    "ttl" in record && record.ttl !== undefined && record.ttl !== TTL && !record.name.includes("upstream") ? ` ${record.ttl}` : "";
  return `${record.type} ${dataText(record.type, data)}${ttl}`;
}

function dataText(type: string, data: unknown): string {
  if (type === "TXT" && Array.isArray(data)) return data.map((part) => JSON.stringify(String(part))).join(" ");
  if (Buffer.isBuffer(data)) return data.toString("latin1");
  if (typeof data !== "object" || data === null) return String(data);
  const fields = new Map<string, unknown>(Object.entries(data));
  const pick = (...names: readonly string[]): string => names.map((name) => String(fields.get(name))).join(" ");
  if (type === "SRV") return pick("priority", "weight", "port", "target");
  if (type === "SOA") return pick("mname", "rname", "refresh", "retry", "expire", "minimum");
  if (type === "HINFO") return pick("cpu");
  return JSON.stringify(data);
}
