import type { ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";

/** Answers that are sent piece by piece, as fast as their reader takes them. */

export interface PumpOptions {
  readonly signal: AbortSignal;
  /** A reader that takes nothing for so long is cut off. */
  readonly stalledAfterMs: number;
}

/** From here on it is not Fastify's any more. */
export function beginReply(reply: FastifyReply): ServerResponse {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, { "Content-Type": "application/json", "Cache-Control": "no-cache, private", ...headersOf(reply) });
  raw.flushHeaders();
  return raw;
}

export async function pump(raw: ServerResponse, pieces: AsyncIterable<string>, { signal, stalledAfterMs }: PumpOptions): Promise<void> {
  for await (const piece of pieces) {
    if (!(await written(raw, piece, { signal, stalledAfterMs }))) break;
  }
  // Ends cleanly for a reader that takes what it is sent; one that does not has nothing to lose.
  if (raw.writableNeedDrain) raw.destroy();
  else raw.end();
}

/** Node refuses further requests on a connection of HTTP/2 while 10 MB of answers wait there: a few large ones must not keep others out. */
const MAX_WRITE = 256 * 1024;

async function written(raw: ServerResponse, piece: string, options: PumpOptions): Promise<boolean> {
  if (options.signal.aborted) return false;
  if (piece.length <= MAX_WRITE / 4) return raw.write(piece) || drained(raw, options);
  const bytes = Buffer.from(piece);
  for (let from = 0; from < bytes.length; from += MAX_WRITE)
    if (!raw.write(bytes.subarray(from, from + MAX_WRITE)) && !(await drained(raw, options))) return false;
  return true;
}

/** Whether the reader took what was written before the time was up. */
async function drained(raw: ServerResponse, { signal, stalledAfterMs }: PumpOptions): Promise<boolean> {
  if (signal.aborted) return false;
  return new Promise((resolve) => {
    const finish = (ok: boolean): void => {
      clearTimeout(timer);
      raw.off("drain", onDrain);
      raw.off("close", onEnd);
      signal.removeEventListener("abort", onEnd);
      resolve(ok);
    };
    const onDrain = (): void => finish(true);
    const onEnd = (): void => finish(false);
    const timer = setTimeout(onEnd, stalledAfterMs);
    raw.once("drain", onDrain);
    raw.once("close", onEnd);
    signal.addEventListener("abort", onEnd, { once: true });
  });
}

function headersOf(reply: FastifyReply): Record<string, string> {
  return Object.fromEntries(Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]));
}
