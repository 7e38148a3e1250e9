import { ReceiptsReply } from "#proto/agents.ts";
import type { Client } from "#proto/client.ts";
import { AppError } from "#proto/error.ts";
import { paths } from "#proto/paths.ts";
import { withProgress, type Io } from "./io.ts";

/** One request waits no longer than this: proxies and firewalls dislike silence. */
const POLL_MS = 20_000;

/** Returns when all that follows from the revision is live on every ready node. Throws Timeout that names the late ones. */
export async function waitUntilLive(
  client: Client,
  io: Io,
  { revision, timeoutMs }: { revision: number; timeoutMs: number },
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let late: readonly string[] = [];
  const text = (): string => `waiting for ${late.length > 0 ? late.join(", ") : "the nodes"}…`;
  await withProgress(io, text, async () => {
    for (;;) {
      const leftMs = Math.max(0, Math.round(deadline - performance.now()));
      const waitMs = Math.min(leftMs, POLL_MS);
      const { body } = await client.transport.send({
        path: paths.receipts,
        query: { revision, timeoutMs: waitMs },
        timeoutMs: waitMs + 10_000,
        signal: io.stop,
      });
      const reply = ReceiptsReply.parse(body);
      if (reply.done) return;
      late = reply.nodes.filter(({ ready, applied }) => ready && (applied ?? 0) < reply.revision).map(({ name }) => name);
      if (leftMs > 0) continue;
      const who =
        late.length > 0 ? `${late.length === 1 ? "node" : "nodes"} ${late.join(", ")} did` : "the server did not say that all nodes did";
      throw new AppError("Timeout", `the change is stored, but after ${timeoutMs} ms ${who}${late.length > 0 ? " not have it yet" : ""}`, {
        hint: "`fairlead status` tells how far each node is and what is wrong on it",
      });
    }
  });
}

/** The largest resourceVersion of some objects. */
export function lastRevision(objects: readonly { readonly metadata: { readonly resourceVersion?: string | undefined } }[]): number {
  return Math.max(0, ...objects.map(({ metadata }) => Number(metadata.resourceVersion ?? 0)));
}
