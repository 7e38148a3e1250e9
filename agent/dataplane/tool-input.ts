import { setImmediate as nextTurn } from "node:timers/promises";
import type { Writable } from "node:stream";

/** Text for a tool: as a whole, or in pieces of whole lines that are made while the tool already reads. */
export type ToolInput = string | Iterable<string>;

export function wholeText(input: ToolInput): string {
  return typeof input === "string" ? input : Array.from(input).join("");
}

/**
 * What is written at once is there as a whole or not at all: Node gives a tool one end of a pair of sockets, and the kernel puts up to 36 kB of one write
 * into one buffer (net/unix/af_unix.c; 48 kB before Linux 6.15).
 */
const WHOLE_BYTES = 32_768;

/**
 * We may be killed while we write, and the tool takes that for the end of its input: what it has got then ends with a whole line. `…:8081` cut to `…:80`
 * would be another endpoint. Who ends without reading says why by its exit code. Rejects when a piece cannot be made; the input is not ended then.
 */
export async function writeLines(stdin: Writable, input: ToolInput, written: Buffer[] = []): Promise<void> {
  stdin.on("error", () => undefined);
  const isWhole = typeof input === "string";
  for (const piece of isWhole ? [input] : input) {
    const text = Buffer.from(piece);
    written.push(text);
    for (const lines of wholeLines(text)) {
      const isTaken = await new Promise<boolean>((resolve) => stdin.write(lines, (error) => resolve(!error)));
      if (!isTaken) return;
    }
    if (!isWhole) await nextTurn(); // a long text keeps nobody else waiting
  }
  stdin.end();
}

function* wholeLines(text: Buffer): Generator<Buffer> {
  for (let from = 0, to = 0; from < text.length; from = to) {
    to = from + WHOLE_BYTES >= text.length ? text.length : text.lastIndexOf("\n", from + WHOLE_BYTES - 1) + 1;
    if (to <= from) to = text.indexOf("\n", from) + 1 || text.length; // a line that is longer
    yield text.subarray(from, to);
  }
}
