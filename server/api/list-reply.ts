import type { FastifyReply, FastifyRequest } from "fastify";
import { beginReply, pump } from "./pump.ts";

/** A short answer goes out whole; of a long one only a piece is in memory at a time, and others get their turns in between. */

const WHOLE = 256 * 1024;

export async function replyWithPieces(
  { request, reply }: { readonly request: FastifyRequest; readonly reply: FastifyReply },
  pieces: AsyncGenerator<string, void, undefined>,
  { stalledAfterMs }: { readonly stalledAfterMs: number },
): Promise<unknown> {
  let begun = "";
  // What is wrong with the request is thrown here, before anything is sent.
  while (begun.length < WHOLE) {
    const { done, value } = await pieces.next();
    if (done) return reply.type("application/json").send(begun);
    begun += value;
  }
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  if (reply.raw.destroyed) gone.abort();
  const raw = beginReply(reply);
  void pump(raw, chain(begun, pieces), { signal: gone.signal, stalledAfterMs }).catch((error: unknown) => {
    request.log.error({ err: error }, "list failed");
    raw.destroy();
  });
  return reply;
}

async function* chain(first: string, rest: AsyncIterable<string>): AsyncGenerator<string, void, undefined> {
  yield first;
  yield* rest;
}
