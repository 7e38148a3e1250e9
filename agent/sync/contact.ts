import type { Logger } from "pino";
import { describeError, isAppError } from "#proto/error.ts";

/** Who talks to the server. */
export type Speaker = "watch" | "heartbeat";

/** Whether this host is in touch with the server: for the log (once a turn), the heartbeat and the operator. */
export interface Contact {
  heard(speaker: Speaker): void;
  failed(speaker: Speaker, error: unknown): void;
  /** How old the state is that this host holds; 0 while it is being followed. */
  stateAgeMs(): number;
  /** A signal for one wait of the watch: it ends too when the server was lost and is there again, as a connection over which nothing comes any more does not say so. */
  waiting(signal: AbortSignal): AbortSignal;
  problems(): readonly string[];
}

/** `since`: when the state that was loaded from disk was saved. */
export function createContact({ log, since }: { readonly log: Pick<Logger, "info" | "warn">; readonly since?: Date | undefined }): Contact {
  const failures = new Map<Speaker, { readonly at: number; readonly error: string }>();
  let followedAt = since?.getTime() ?? Date.now();
  let following = false;
  let wait = new AbortController();
  return {
    heard(speaker) {
      const failure = failures.get(speaker);
      failures.delete(speaker);
      if (speaker === "watch") {
        following = true;
        followedAt = Date.now();
      }
      if (!failure) return;
      log.info({ speaker, afterMs: Date.now() - failure.at }, "in touch with the server again");
      if (speaker === "heartbeat") wait.abort();
    },
    failed(speaker, error) {
      if (speaker === "watch" && following) {
        following = false;
        followedAt = Date.now();
      }
      const before = failures.get(speaker);
      const text = explain(error);
      if (before?.error !== text)
        log.warn(
          { speaker, error: text, stateAgeMs: Math.max(0, Date.now() - followedAt) },
          `${headline(error)}: traffic and DNS go on with what this host knows`,
        );
      failures.set(speaker, { at: before?.at ?? Date.now(), error: text });
    },
    stateAgeMs: () => (following ? 0 : Math.max(0, Date.now() - followedAt)),
    waiting(signal) {
      wait = new AbortController();
      return AbortSignal.any([signal, wait.signal]);
    },
    problems: () => Array.from(failures, ([speaker, { error }]) => `${speaker}: ${error}`),
  };
}

function headline(error: unknown): string {
  if (isRefused(error)) return "the server refuses this host";
  const isAway = !isAppError(error) || error.code === "ServiceUnavailable" || error.code === "Timeout";
  return isAway ? "cannot reach the server" : "the server answered with an error";
}

export function isRefused(error: unknown): boolean {
  return isAppError(error, "Unauthorized") || isAppError(error, "Forbidden");
}

/** Our own errors say all in their message; a server that refuses us says in the hint what helps. */
function explain(error: unknown): string {
  const text = isAppError(error) ? error.message : describeError(error);
  if (!isAppError(error) || !isRefused(error)) return text;
  return error.code === "Unauthorized" && error.hint !== undefined
    ? `the server refuses this host: ${error.hint}`
    : `the server refuses this host's credential (${text}): if the node was deleted, join again with a new token`;
}
