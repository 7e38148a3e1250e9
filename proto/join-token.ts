import { AppError } from "./error.ts";

/** `fl1.ID.SECRET.FINGERPRINT`: FINGERPRINT is the SHA-256 of the server's CA certificate (DER), so that a host knows whom it joins before it says anything. */
export interface JoinToken {
  readonly id: string;
  readonly secret: string;
  /** 64 hex digits. */
  readonly caFingerprint: string;
}

export function formatJoinToken({ id, secret, caFingerprint }: JoinToken): string {
  return `fl1.${id}.${secret}.${caFingerprint}`;
}

/** Throws BadRequest; the message never holds the token. */
export function parseJoinToken(text: string): JoinToken {
  const match = /^fl1\.([a-z0-9]{8})\.([A-Za-z0-9_-]{43})\.([0-9a-f]{64})$/.exec(text.trim());
  const [, id, secret, caFingerprint] = match ?? [];
  if (id === undefined || secret === undefined || caFingerprint === undefined)
    throw new AppError("BadRequest", "this is not a join token", {
      hint: "a token looks like fl1.ID.SECRET.FINGERPRINT; make one with `fairlead token create` on the server",
    });
  return { id, secret, caFingerprint };
}
