import { createRequire } from "node:module";
import type { Invocation } from "../io.ts";

export async function version({ options, io }: Invocation<{ readonly server?: true }>): Promise<number> {
  io.out(`fairlead ${ownVersion()} (Node ${process.version})\n`);
  if (!options.server) return 0;
  const [{ openSession }, { FleetStatus }, { paths }, { clean }] = await Promise.all([
    import("../session.ts"),
    import("#proto/agents.ts"),
    import("#proto/paths.ts"),
    import("../output/clean.ts"),
  ]);
  await using session = await openSession(options, io);
  const { body } = await session.client.transport.send({ path: paths.status, signal: io.stop, timeoutMs: 10_000 });
  io.out(`server   ${clean(FleetStatus.parse(body).version)} at ${session.context.server}\n`);
  return 0;
}

function ownVersion(): string {
  const { version: text } = createRequire(import.meta.url)("../../package.json") as { version: string }; // our own file
  return text;
}
