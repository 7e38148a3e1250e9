import { Protocol } from "#proto/meta.ts";
import type { ComposeService } from "./compose-schema.ts";

/** A port as programs in the other containers know it. */
export interface ServicePort {
  readonly name: string | undefined;
  readonly port: number;
  readonly protocol: Protocol;
}

export interface PortsDeps {
  /** undefined = a variable in it has no value. */
  readonly valueOf: (text: string) => string | undefined;
  readonly note: (line: string) => void;
}

const MAX_PORTS = 100;

/** Of `ports` and `expose`, each once. */
export function portsOf({ ports, expose }: Pick<ComposeService, "ports" | "expose">, { valueOf, note }: PortsDeps): ServicePort[] {
  const found = new Map<string, ServicePort>();
  const add = (text: string, name?: string): void => {
    const value = valueOf(text);
    const read = value === undefined ? undefined : targetsOf(value);
    if (value === undefined) note(`port ${text}: the variable has no value; set it, or write the port into the file`);
    else if (!read) note(`port ${value}: is not understood, and left out`);
    else for (const one of read) found.set(`${one.port}/${one.protocol}`, { name, ...one });
  };
  for (const port of ports) {
    if (typeof port === "string") add(port);
    else add(`${port.target}/${port.protocol}`, /^[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?$/.test(port.name ?? "") ? port.name : undefined);
  }
  for (const port of expose) add(port);
  const all = [...found.values()];
  if (all.length > MAX_PORTS) note(`${all.length} ports: a service has ${MAX_PORTS} at most, the others are left out`);
  return all.slice(0, MAX_PORTS);
}

/** `80`, `8080:80`, `127.0.0.1:8080:80/udp`, `[::1]:8080:80`, `3000-3005:3000-3005`: what stands last is the container's. */
function targetsOf(text: string): Pick<ServicePort, "port" | "protocol">[] | undefined {
  const [, first = "", last = first, protocol = "tcp"] = /^(?:.*:)?(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(text) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (first === "" || from < 1 || to > 65_535 || to < from || to - from > 1000) return undefined;
  const as = Protocol.parse(protocol.toUpperCase());
  return Array.from({ length: to - from + 1 }, (_, i) => ({ port: from + i, protocol: as }));
}
