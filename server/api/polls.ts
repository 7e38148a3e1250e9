import type { FastifyReply, FastifyRequest } from "fastify";
import { AppError } from "#proto/error.ts";
import { connectionOf, MAX_STREAMS } from "#server/listener.ts";
import type { Identity } from "#server/trust/identity.ts";

/** Requests that wait: long polls and watches. Counted and bounded, and all of them get their answer when the server closes. */
export interface Polls {
  /** Throws TooManyRequests. `release` must be called when the answer is out. */
  open(what: PollKind, request: FastifyRequest, reply: FastifyReply): Poll;
  pending(what: PollKind): number;
  /** Aborts the signals of all, and of those that come later. */
  close(): void;
}

declare module "fastify" {
  interface FastifyRequest {
    /** It waited on purpose, so its duration says nothing. */
    waits: boolean;
  }
}

export type PollKind = "changes" | "watch" | "receipts";

export interface Poll {
  /** Aborts when the caller is gone, its credential revoked, or the server closes. */
  readonly signal: AbortSignal;
  release(): void;
}

export interface PollLimits {
  readonly total: number;
  /** HTTP/1.1 may pipeline requests on one connection, HTTP/2 has streams. */
  readonly perConnection: number;
}

export const POLL_LIMITS: PollLimits = { total: 20_000, perConnection: MAX_STREAMS };

export interface PollsInput {
  readonly limits?: PollLimits | undefined;
  /** Aborts when the caller's credential is revoked: then its polls end too. */
  readonly revocationOf?: ((identity: Identity) => AbortSignal | undefined) | undefined;
}

export function createPolls({ limits = POLL_LIMITS, revocationOf }: PollsInput = {}): Polls {
  const open = new Set<AbortController>();
  const counts = new Map<PollKind, number>();
  const perConnection = new WeakMap<object, number>();
  let closed = false;

  const add = (what: PollKind, connection: object, difference: number): void => {
    counts.set(what, (counts.get(what) ?? 0) + difference);
    perConnection.set(connection, (perConnection.get(connection) ?? 0) + difference);
  };

  return {
    open: (what, request, reply) => {
      const connection = connectionOf(request);
      if (open.size >= limits.total || (perConnection.get(connection) ?? 0) >= limits.perConnection)
        throw new AppError("TooManyRequests", "too many requests wait for changes, please try again later", { retryAfterSeconds: 1 });
      request.waits = true;
      const controller = new AbortController();
      const abort = (): void => controller.abort();
      const revoked = request.identity && revocationOf?.(request.identity);
      if (closed || revoked?.aborted === true) abort();
      revoked?.addEventListener("abort", abort, { once: true });
      open.add(controller);
      add(what, connection, 1);
      reply.raw.once("close", abort);
      let released = false;
      return {
        signal: controller.signal,
        release: () => {
          if (released) return;
          released = true;
          reply.raw.off("close", abort);
          revoked?.removeEventListener("abort", abort);
          open.delete(controller);
          add(what, connection, -1);
        },
      };
    },
    pending: (what) => counts.get(what) ?? 0,
    close: () => {
      closed = true;
      for (const controller of open) controller.abort();
    },
  };
}
