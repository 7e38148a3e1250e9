import { pause } from "#proto/backoff.ts";
import type { NodeEvents } from "./node-events.ts";

/** What is there at two looks is not an address that is just being set. */
const LOOK_MS = 2000;
/** What goes on for hours is told again each hour, for those who come later. */
const QUIET_MS = 3_600_000;

/** Tells what goes wrong with DNS on this host as Events of its Node, beside the problems in its heartbeat: they are there when the problem is over, too. */
export async function tellDnsProblems(
  { problems, events }: { readonly problems: () => readonly string[]; readonly events: NodeEvents },
  signal: AbortSignal,
): Promise<void> {
  let before: readonly string[] = [];
  while (!signal.aborted) {
    const now = problems();
    for (const problem of now)
      if (before.includes(problem)) events.tell({ reason: "DnsProblem", about: problem, message: problem, quietMs: QUIET_MS });
    before = now;
    await pause(LOOK_MS, signal);
  }
}
