import { crc32 } from "node:zlib";

/** Lines of `checksum JSON`: one that was not written whole, or was changed since, does not have its checksum. */

/** Of something that is JSON already. */
export function lineOf(text: string): string {
  return `${crc32(text).toString(16).padStart(8, "0")} ${text}\n`;
}

/** undefined when the line is damaged. */
export function decodeLine(line: string): unknown {
  const text = line.slice(9);
  if (line[8] !== " " || crc32(text).toString(16).padStart(8, "0") !== line.slice(0, 8)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
