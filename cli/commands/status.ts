import { FleetStatus } from "#proto/agents.ts";
import { paths } from "#proto/paths.ts";
import type { Invocation } from "../io.ts";
import { problemsOf, renderStatus } from "../output/status.ts";
import { toJson, toYaml } from "../output/structured.ts";
import { openSession } from "../session.ts";

export async function status({ options, io }: Invocation<{ readonly output: "table" | "json" | "yaml" }>): Promise<number> {
  await using session = await openSession(options, io);
  const { body } = await session.client.transport.send({ path: paths.status, signal: io.stop, timeoutMs: 10_000 });
  const fleet = FleetStatus.parse(body);
  const text = {
    table: () => renderStatus(fleet, session.context.server, Date.now()),
    json: () => toJson(fleet),
    yaml: () => toYaml(fleet),
  };
  io.out(text[options.output]());
  return problemsOf(fleet).length === 0 ? 0 : 1;
}
