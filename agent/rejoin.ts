import type { Connection } from "#proto/client-http.ts";
import { pause } from "#proto/backoff.ts";
import { readMembership, type Joined } from "./config.ts";

/** Joining again ends the credential that a running agent has; it finds the new one in the file, and need not be restarted by hand. */
export interface RejoinDeps {
  readonly credentialsFile: string;
  /** What this agent runs with. */
  readonly connection: Connection;
  /** Only then a look at the file is worth its while. */
  readonly isOutOfTouch: () => boolean;
  readonly onRejoin: (joined: Joined) => void;
}

const LOOK_EVERY_MS = 1000;

/** Looks until this host has joined again, or the signal aborts. */
export async function rejoinLoop({ credentialsFile, connection, isOutOfTouch, onRejoin }: RejoinDeps, signal: AbortSignal): Promise<void> {
  for (;;) {
    await pause(LOOK_EVERY_MS, signal);
    if (signal.aborted) return;
    const joined = isOutOfTouch() ? await joinedAnew(credentialsFile, connection) : undefined;
    if (!joined) continue;
    onRejoin(joined);
    return;
  }
}

/** What the file says, if that is something else than `connection`. A file that is gone or damaged says nothing. */
export async function joinedAnew(credentialsFile: string, connection: Connection): Promise<Joined | undefined> {
  const found = await readMembership(credentialsFile).catch(() => undefined);
  const isOther = (["server", "ca", "token"] as const).some((field) => found?.connection[field] !== connection[field]);
  return isOther ? found : undefined;
}
