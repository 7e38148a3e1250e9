import { AppError } from "#proto/error.ts";
import type { KindName } from "#proto/kinds.ts";
import { withProgress, type Io } from "./io.ts";
import type { Session } from "./session.ts";
import { singularOf } from "./targets.ts";

export interface Deleted {
  readonly kind: KindName;
  readonly name: string;
  readonly namespace: string | undefined;
  /** Of what was deleted: another object may have taken the name since. */
  readonly uid: string | undefined;
}

/** Returns when none of them is there any more. Throws Timeout that names the first one that still is. */
export async function waitUntilGone(session: Session, io: Io, all: readonly Deleted[], timeoutMs: number): Promise<void> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const signal = AbortSignal.any([io.stop, timeout]);
  let what = "";
  const waitForAll = async (): Promise<void> => {
    for (const one of all) {
      what = `${singularOf(one.kind)} "${one.name}"`;
      await waitForOne(session, one, signal);
      if (signal.aborted) return;
    }
  };
  await withProgress(io, () => `waiting for ${what} to be gone…`, waitForAll);
  if (!timeout.aborted || io.stop.aborted) return;
  throw new AppError("Timeout", `${what} is being removed, but still there after ${timeoutMs} ms`, {
    hint: "it keeps its connections for its terminationGracePeriodSeconds; --grace-period 0 removes it at once",
  });
}

async function waitForOne({ client }: Session, { kind, name, namespace, uid }: Deleted, signal: AbortSignal): Promise<void> {
  let there = false;
  for await (const event of client.watch(kind, { namespace, fieldSelector: `metadata.name=${name}`, signal })) {
    if (event.type === "DELETED") return;
    if (event.type !== "SYNCED") there ||= uid === undefined || event.object.metadata.uid === uid;
    else if (!there) return;
  }
}
