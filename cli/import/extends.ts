import { AppError } from "#proto/error.ts";
import type { ComposeService } from "./compose-schema.ts";

export type Services = Readonly<Record<string, ComposeService>>;

/** A service with what it takes over from others of the same file, as Compose merges them: lists come one after the other, of the rest the nearer one counts. */
export function withExtended(name: string, services: Services, below: readonly string[] = []): ComposeService {
  const service = services[name];
  if (!service) throw new AppError("Invalid", `${below.at(-1) ?? ""} extends ${name}, which is not in the file`);
  const base = baseOf(service);
  if (base === undefined) return service;
  if (below.includes(name)) throw new AppError("Invalid", `${[...below, name].join(" extends ")}: it never ends`);
  const taken = withExtended(base, services, [...below, name]);
  const { extends: _followed, ...own } = service;
  return {
    ...taken,
    ...own,
    ports: [...taken.ports, ...service.ports],
    expose: [...taken.expose, ...service.expose],
    ...((taken.deploy || service.deploy) && { deploy: { ...taken.deploy, ...service.deploy } }),
    ...((taken.healthcheck || service.healthcheck) && { healthcheck: { ...taken.healthcheck, ...service.healthcheck } }),
  };
}

function baseOf({ extends: base }: ComposeService): string | undefined {
  if (typeof base === "string") return base;
  return base?.file === undefined ? base?.service : undefined;
}
