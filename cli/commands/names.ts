import { kindByName } from "#proto/kinds.ts";
import { clean } from "../output/clean.ts";
import type { Invocation } from "../io.ts";
import { openSession } from "../session.ts";

/** For shell completion: the names of a kind, a line each; nothing at all when the server does not answer at once. */
export async function names({ args, options, io }: Invocation<object>): Promise<number> {
  const kind = kindByName(args[0] ?? "");
  if (kind === undefined) return 0;
  try {
    await using session = await openSession(options, io);
    const { items } = await session.client.list(kind, {
      namespace: session.namespace,
      signal: AbortSignal.any([io.stop, AbortSignal.timeout(1000)]),
    });
    io.out(items.map(({ metadata }) => `${clean(metadata.name)}\n`).join(""));
  } catch {
    // a shell asks while somebody types: no error is worth more than silence
  }
  return 0;
}
