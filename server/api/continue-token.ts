import { z } from "zod";
import { AppError } from "#proto/error.ts";

/** Where the next page of a list begins. Opaque to clients; all pages carry the revision of the first. */

const Token = z.strictObject({
  r: z.int().min(1),
  /** Index of the kind, where a list goes over several. */
  k: z.int().min(0).max(100).optional(),
  ns: z.string().max(253),
  n: z.string().max(253),
});

export interface Position {
  readonly revision: number;
  readonly kindIndex?: number | undefined;
  readonly namespace: string;
  readonly name: string;
}

export function formatToken({ revision, kindIndex, namespace, name }: Position): string {
  return Buffer.from(JSON.stringify({ r: revision, k: kindIndex, ns: namespace, n: name })).toString("base64url");
}

/** Throws BadRequest, or Expired where changes since the first page have been compacted, so that a watch could not go on from it. */
export function parseToken(text: string, store: { readonly revision: number; readonly compactedRevision: number }): Position {
  const token = Token.safeParse(decoded(text));
  if (!token.success || token.data.r > store.revision)
    throw new AppError("BadRequest", "continue key is not valid", { hint: "list again from the beginning, without continue" });
  const { r: revision, k: kindIndex, ns: namespace, n: name } = token.data;
  if (revision < store.compactedRevision)
    throw new AppError("Expired", "The provided continue parameter is too old to display a consistent list result.", {
      hint: "list again from the beginning, without continue",
    });
  return { revision, kindIndex, namespace, name };
}

function decoded(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
}
