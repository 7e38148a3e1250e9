import { randomInt } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import type { JoinTokenCreated, JoinTokenInfo, JoinTokenRequest } from "#proto/agents.ts";
import { AppError } from "#proto/error.ts";
import { formatJoinToken, parseJoinToken } from "#proto/join-token.ts";
import type { Records } from "../store/records.ts";
import type { Identity } from "./identity.ts";
import { hashSecret, matchesHash, newSecret } from "./secrets.ts";

export interface JoinTokens {
  /** Throws Unauthorized, with the reason, for a token that is known but has expired or is used up. */
  authenticate(bearer: string): Identity | undefined;
  create(request: JoinTokenRequest): Promise<JoinTokenCreated>;
  /** Those that can still be used. */
  list(): readonly JoinTokenInfo[];
  /** Whether there was one. */
  delete(id: string): Promise<boolean>;
  /** Takes one use; of simultaneous callers no more succeed than there are uses left. Throws Unauthorized when none is left. */
  consume(id: string): Promise<void>;
  /** Gives a use back, when the join failed after all. */
  giveBack(id: string): Promise<void>;
  close(): void;
}

interface Deps {
  readonly records: Records;
  readonly caFingerprint: string;
  readonly log: Pick<Logger, "info" | "error">;
  readonly now: () => number;
}

const BUCKET = "join-tokens";
const MAX_TOKENS = 1000;
/** So long a token that expired or was used up is remembered, to tell its holder which of the two happened. */
const REMEMBER_MS = 24 * 3600_000;
const MAX_TIMER_MS = 2 ** 31 - 1;

const Kept = z.object({
  hash: z.string(),
  description: z.string(),
  createdAt: z.string(),
  expiresAt: z.string(),
  usesLeft: z.int().min(0),
});
type Kept = z.output<typeof Kept>;

export async function openJoinTokens({ records, caFingerprint, log, now }: Deps): Promise<JoinTokens> {
  const tokens = new Map<string, Kept>();
  for (const { id, value } of await records.list(BUCKET)) tokens.set(id, Kept.parse(value));
  let timer: NodeJS.Timeout | undefined;

  async function forget(id: string): Promise<boolean> {
    const known = tokens.delete(id);
    await records.delete(BUCKET, id);
    return known;
  }

  /** Erases what nobody need be told about any more, and wakes again when the next one is due. */
  async function sweep(): Promise<void> {
    const due = (token: Kept): number => Date.parse(token.expiresAt) + REMEMBER_MS;
    for (const [id, token] of tokens) if (due(token) <= now()) await forget(id);
    clearTimeout(timer);
    if (tokens.size === 0) return;
    const next = Math.min(...[...tokens.values()].map(due));
    timer = setTimeout(sweepLater, Math.min(Math.max(next - now(), 1000), MAX_TIMER_MS)).unref();
  }
  function sweepLater(): void {
    sweep().catch((error: unknown) => log.error({ err: error }, "could not erase expired join tokens"));
  }

  async function change(id: string, step: (token: Kept) => Kept): Promise<void> {
    const next = await records.update(BUCKET, id, (current) => {
      if (current === undefined) throw unusable("was revoked");
      return step(Kept.parse(current));
    });
    // A token that was revoked in between stays revoked.
    if (tokens.has(id)) tokens.set(id, next);
  }

  await sweep();
  return {
    authenticate: (bearer) => {
      if (!bearer.startsWith("fl1.")) return undefined;
      const parsed = parse(bearer);
      const token = parsed && tokens.get(parsed.id);
      if (!parsed || parsed.caFingerprint !== caFingerprint || !token || !matchesHash(parsed.secret, token.hash)) return undefined;
      requireUsable(token, now());
      return { kind: "joiner", tokenId: parsed.id };
    },
    create: async ({ ttlSeconds, uses, description }) => {
      await sweep();
      // Those that are only remembered do not stand in the way of a new one.
      if (tokens.size >= MAX_TOKENS) for (const [id, token] of tokens) if (isOver(token, now())) await forget(id);
      if (tokens.size >= MAX_TOKENS)
        throw new AppError("Conflict", `there are already ${tokens.size} join tokens, and no more than ${MAX_TOKENS} are kept`, {
          hint: "delete some that are no longer needed (`fairlead token list`, `fairlead token delete ID`)",
        });
      const id = freeId(tokens);
      const secret = newSecret();
      const token: Kept = {
        hash: hashSecret(secret),
        description,
        createdAt: new Date(now()).toISOString(),
        expiresAt: new Date(now() + ttlSeconds * 1000).toISOString(),
        usesLeft: uses,
      };
      await records.put(BUCKET, id, token);
      tokens.set(id, token);
      await sweep();
      return { ...infoOf(id, token), token: formatJoinToken({ id, secret, caFingerprint }) };
    },
    list: () => [...tokens].filter(([, token]) => !isOver(token, now())).map(([id, token]) => infoOf(id, token)),
    delete: forget,
    consume: (id) =>
      change(id, (token) => {
        requireUsable(token, now());
        return { ...token, usesLeft: token.usesLeft - 1 };
      }),
    giveBack: (id) => change(id, (token) => ({ ...token, usesLeft: token.usesLeft + 1 })),
    close: () => clearTimeout(timer),
  };
}

function infoOf(id: string, { description, createdAt, expiresAt, usesLeft }: Kept): JoinTokenInfo {
  return { id, description, createdAt, expiresAt, usesLeft };
}

function isOver({ expiresAt, usesLeft }: Kept, now: number): boolean {
  return Date.parse(expiresAt) <= now || usesLeft === 0;
}

function requireUsable(token: Kept, now: number): void {
  if (Date.parse(token.expiresAt) <= now) throw unusable(`expired at ${token.expiresAt}`);
  if (token.usesLeft <= 0) throw unusable("has been used as often as it may be");
}

function unusable(why: string): AppError {
  return new AppError("Unauthorized", `this join token ${why}`, { hint: "make a new one with `fairlead token create` on the server" });
}

function parse(bearer: string): ReturnType<typeof parseJoinToken> | undefined {
  try {
    return parseJoinToken(bearer);
  } catch {
    return undefined; // not a join token: the caller answers as for any unknown bearer
  }
}

const ID_CHARS = "abcdefghijklmnopqrstuvwxyz0123456789";
function freeId(taken: ReadonlyMap<string, unknown>): string {
  for (;;) {
    const id = Array.from({ length: 8 }, () => ID_CHARS[randomInt(ID_CHARS.length)] ?? "").join("");
    if (!taken.has(id)) return id;
  }
}
