import { setTimeout as delay } from "node:timers/promises";
import type { Writes } from "./dataplane/writes.ts";

export interface ForceExitDeps {
  readonly writes: Pick<Writes, "ended">;
  readonly exit: () => void;
  readonly wait?: (ms: number) => Promise<void>;
}

/** Whatever still hangs then: rules and state stay as they are. */
const STOP_WITHIN_MS = 1_800;
/** A program of 10,000 services takes some seconds on a slow host, and the lock of iptables may be held for 5; systemd kills after 90. */
const WRITE_WITHIN_MS = 30_000;

/** Ends a process whose loops have not ended in time, but not in the middle of a write to the kernel. */
export async function forceExit({ writes, exit, wait = unrefWait }: ForceExitDeps): Promise<void> {
  await wait(STOP_WITHIN_MS);
  await Promise.race([writes.ended(), wait(WRITE_WITHIN_MS)]);
  exit();
}

async function unrefWait(ms: number): Promise<void> {
  await delay(ms, undefined, { ref: false });
}
