import { FleetStatus } from "#proto/agents.ts";
import { isAppError } from "#proto/error.ts";
import type { Event } from "#proto/event.ts";
import { paths } from "#proto/paths.ts";
import type { Invocation } from "../io.ts";
import { problemsOf, renderStatus } from "../output/status.ts";
import { toJson, toYaml } from "../output/structured.ts";
import { openSession, type Session } from "../session.ts";

export async function status({ options, io }: Invocation<{ readonly output: "table" | "json" | "yaml" }>): Promise<number> {
  await using session = await openSession(options, io);
  const { body } = await session.client.transport.send({ path: paths.status, signal: io.stop, timeoutMs: 10_000 });
  const fleet = FleetStatus.parse(body);
  const warnings = options.output === "table" ? await warningsOf(session, io.stop) : [];
  const text = {
    table: () => renderStatus(fleet, { server: session.context.server, now: Date.now(), warnings }),
    json: () => toJson(fleet),
    yaml: () => toYaml(fleet),
  };
  io.out(text[options.output]());
  return problemsOf(fleet).length === 0 ? 0 : 1;
}

/** Whoever may see the state of hosts may not be allowed to read Events. */
async function warningsOf({ client }: Session, signal: AbortSignal): Promise<readonly Event[]> {
  try {
    return (await client.list("Event", { fieldSelector: "type=Warning", signal })).items;
  } catch (error) {
    if (isAppError(error, "Forbidden")) return [];
    throw error;
  }
}
