/** Protocol buffers' wire format: a message's bytes → plain values, by a table of its fields. Pure. Source: protobuf.dev, "Encoding". */

export type FieldType = "string" | "int" | "bool" | "stringMap" | MessageType;

export interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly repeated?: true;
}

export interface MessageType {
  /** By field number; fields that are not here are skipped. */
  readonly fields: Readonly<Record<number, Field>>;
  /** What the message is in JSON, where that is no object of its fields; undefined = absent. */
  readonly toJson?: (values: Values) => unknown;
}

export type Values = Readonly<Record<string, unknown>>;

/** Deeper than any message that is described here. */
const MAX_DEPTH = 32;
/** Of one message, those below it not counted: an object of 1 MiB has fewer. */
const MAX_FIELDS = 50_000;
const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

export class Malformed extends Error {}

/** Throws Malformed. Strings that are empty and numbers that are 0 are left out: Go writes them for fields that nobody has set. */
export function decodeMessage(bytes: Uint8Array, type: MessageType, depth = 0): unknown {
  if (depth > MAX_DEPTH) throw new Malformed("messages are nested too deeply");
  const values: Record<string, unknown> = {};
  const reader = new Reader(bytes);
  for (let read = 0; !reader.atEnd; read++) {
    if (read >= MAX_FIELDS) throw new Malformed(`a message has more than ${MAX_FIELDS} fields`);
    const tag = reader.varint();
    const [number, wireType] = [Math.floor(tag / 8), tag % 8];
    const field = type.fields[number];
    if (!field) {
      reader.skip(wireType);
      continue;
    }
    const value = readValue(reader, wireType, field.type, depth);
    take(values, field, value);
  }
  return type.toJson ? type.toJson(values) : values;
}

/** Into the lists and maps that are there already: copying them for each entry would take the square of their number. */
function take(values: Record<string, unknown>, { name, type, repeated }: Field, value: unknown): void {
  const known = values[name];
  if (type === "stringMap") Object.assign((values[name] = known ?? {}), value);
  else if (repeated && Array.isArray(known)) known.push(value);
  else if (repeated) values[name] = [value];
  else if (value === undefined || value === "" || value === 0) Reflect.deleteProperty(values, name);
  else values[name] = value;
}

function readValue(reader: Reader, wireType: number, type: FieldType, depth: number): unknown {
  if (type === "int" || type === "bool") {
    if (wireType !== VARINT) throw new Malformed("a number is not written as one");
    const value = reader.varint();
    return type === "bool" ? value !== 0 : value;
  }
  if (wireType !== LENGTH) throw new Malformed("a string or message is not written as one");
  const bytes = reader.bytes();
  if (type === "string") return textOf(bytes);
  if (type === "stringMap") return entryOf(bytes);
  return decodeMessage(bytes, type, depth + 1);
}

const ENTRY: MessageType = { fields: { 1: { name: "key", type: "string" }, 2: { name: "value", type: "string" } } };

function entryOf(bytes: Uint8Array): Readonly<Record<string, string>> {
  const { key = "", value = "" } = decodeMessage(bytes, ENTRY) as { key?: string; value?: string };
  if (key === "__proto__") throw new Malformed('a map has the key "__proto__", which no object may have');
  return { [key]: value };
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Malformed("a string is not UTF-8");
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** As far as JavaScript's numbers are exact; negative int32 come as 64 bits and are read as such. */
  varint(): number {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new Malformed("it ends in the middle of a number");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(BigInt.asIntN(64, value));
    }
    throw new Malformed("a number is too long");
  }

  bytes(): Uint8Array {
    const length = this.varint();
    if (length < 0 || length > this.#bytes.length - this.#at) throw new Malformed("a field is longer than its message");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  skip(wireType: number): void {
    if (wireType === VARINT) this.varint();
    else if (wireType === LENGTH) this.bytes();
    else if (wireType === FIXED64 || wireType === FIXED32) {
      this.#at += wireType === FIXED64 ? 8 : 4;
      if (this.#at > this.#bytes.length) throw new Malformed("it ends in the middle of a field");
    } else throw new Malformed(`wire type ${wireType} does not exist`);
  }
}
