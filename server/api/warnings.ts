import type { FastifyReply } from "fastify";

/** `Warning: 299 - "text"` headers, which clients show to their users. */

const MAX_WARNINGS = 50;
const MAX_LENGTH = 256;

export function addWarnings(reply: FastifyReply, texts: readonly string[]): void {
  if (texts.length === 0) return;
  void reply.header(
    "Warning",
    texts.slice(0, MAX_WARNINGS).map((text) => `299 - "${quotable(text)}"`),
  );
}

/** Header values are ASCII here, so that no client has to guess. */
function quotable(text: string): string {
  return text
    .slice(0, MAX_LENGTH)
    .replaceAll(/[^\x20-\x7e]/g, "?")
    .replaceAll(/["\\]/g, String.raw`\$&`);
}
