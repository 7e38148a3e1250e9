import type { Service } from "#proto/service.ts";
import { renderVariables, serviceVariables } from "../env-variables.ts";
import { say, type GlobalOptions, type Invocation, type Io } from "../io.ts";
import { openSession } from "../session.ts";

export async function env({ args, options, io }: Invocation<{ readonly format: "shell" | "dotenv" | "json" }>): Promise<number> {
  io.out(renderVariables(await readVariables(args, options, io), options.format));
  return 0;
}

/** Of the services named, or of all in the namespace. */
export async function readVariables(names: readonly string[], options: GlobalOptions, io: Io): Promise<[string, string][]> {
  await using session = await openSession(options, io);
  const at = { namespace: session.namespace, signal: io.stop };
  if (names.length === 0) {
    const { items } = await session.client.list("Service", at);
    return serviceVariables(items.toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)));
  }
  const services: Service[] = [];
  for (const name of names) services.push(await session.client.get("Service", name, at));
  for (const service of services)
    if (serviceVariables([service]).length === 0) say(io, `service/${service.metadata.name} has no virtual IP, hence no variables`);
  return serviceVariables(services);
}
