/**
 * Names as DNS carries them. A key is the wire form (length bytes, labels, the root's zero) as a latin1 string with ASCII letters in lower case: labels
 * are never joined by dots, since a label may hold a dot byte, and two different names never share a key.
 */
export type NameKey = string;

export const MAX_NAME_OCTETS = 255;
export const MAX_LABEL_OCTETS = 63;

/** The key of a name written with dots, none at the end; undefined where a label or the whole is too long or not ASCII. */
export function keyOfName(text: string): NameKey | undefined {
  const parts: string[] = [];
  for (const label of text.split(".")) {
    if (label === "" || label.length > MAX_LABEL_OCTETS || !/^[\x21-\x7e]+$/.test(label)) return undefined;
    parts.push(String.fromCharCode(label.length), label);
  }
  parts.push("\0");
  const key = parts.join(""); // one flat string; `+=` would keep the pieces beside it
  return key.length > MAX_NAME_OCTETS ? undefined : foldCase(key);
}

/** The reverse, of a key that was made of such a name. */
export function dottedName(key: NameKey): string {
  const labels: string[] = [];
  for (let at = 0, length = key.charCodeAt(0); length > 0; at += length + 1, length = key.charCodeAt(at))
    labels.push(key.slice(at + 1, at + 1 + length));
  return labels.join(".");
}

/** Lower case for ASCII letters only (RFC 4343); `toLowerCase` alone would fold À into à. */
export function foldCase(latin1: string): string {
  return /^[\x00-\x7f]*$/.test(latin1) ? latin1.toLowerCase() : latin1.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

export function wireOfKey(key: NameKey): Buffer {
  return Buffer.from(key, "latin1");
}

/** The name without its first label; the root has no parent. */
export function parentOf(key: NameKey): NameKey | undefined {
  const length = key.charCodeAt(0);
  return length === 0 ? undefined : key.slice(length + 1);
}

/** For logs. */
export function textOfKey(key: NameKey): string {
  const labels: string[] = [];
  for (let at = 0, length = key.charCodeAt(0); length > 0; at += length + 1, length = key.charCodeAt(at))
    labels.push(key.slice(at + 1, at + 1 + length).replaceAll(/[^a-z0-9_-]/gi, (c) => `\\${String(c.charCodeAt(0)).padStart(3, "0")}`));
  return labels.length === 0 ? "." : labels.join(".");
}

/**
 * The uncompressed wire form of a name inside a message, and where the message goes on behind it. Pointers may only lead backwards and only ten times, so
 * that no message costs more than its length. undefined = not a name.
 */
export function readName(message: Buffer, start: number): { readonly wire: Buffer; readonly end: number } | undefined {
  const parts: Buffer[] = [];
  let [at, octets, end, limit] = [start, 0, -1, start];
  for (let hops = 0; hops <= MAX_POINTERS;) {
    const length = message[at];
    if (length === undefined) return undefined;
    if (length >= 0xc0) {
      const low = message[at + 1];
      if (low === undefined) return undefined;
      if (end < 0) end = at + 2;
      at = ((length & 0x3f) << 8) | low;
      if (at >= limit) return undefined;
      limit = at;
      hops++;
      continue;
    }
    octets += length + 1;
    if (length > MAX_LABEL_OCTETS || octets > MAX_NAME_OCTETS || at + length + 1 > message.length) return undefined;
    parts.push(message.subarray(at, at + length + 1));
    at += length + 1;
    if (length === 0) return { wire: Buffer.concat(parts), end: end < 0 ? at : end };
  }
  return undefined;
}

const MAX_POINTERS = 10;
