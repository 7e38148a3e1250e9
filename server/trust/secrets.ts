import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/**
 * Bearer secrets: 32 random bytes, of which only the SHA-256 is kept. A slow password hash would add nothing, as nobody can try out 2^256
 * values, and would let a stranger keep the server busy.
 */

/** 43 characters of base64url. */
export function newSecret(): string {
  return randomBytes(32).toString("base64url");
}

export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** In a time that does not tell how much of it was right. */
export function matchesHash(secret: string, hash: string): boolean {
  const given = createHash("sha256").update(secret).digest();
  const kept = Buffer.from(hash, "hex");
  return given.length === kept.length && timingSafeEqual(given, kept);
}
