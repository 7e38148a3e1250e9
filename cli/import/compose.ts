import { parseDocument } from "yaml";
import { AppError } from "#proto/error.ts";
import { Rfc1035Label } from "#proto/meta.ts";
import type { ServiceInput } from "#proto/service.ts";
import { ComposeFile, type ComposeService } from "./compose-schema.ts";
import { withExtended } from "./extends.ts";
import { interpolated } from "./interpolate.ts";
import { portsOf, type ServicePort } from "./ports.ts";

/** A Compose file → Services of ours, and what could not be carried over, in words. Pure. */
export interface Imported {
  readonly services: readonly ServiceInput[];
  /** Compose's override file: the labels by which `fairlead agent --docker` finds the containers. */
  readonly override: ComposeOverride;
  /** `SERVICE: …`, a line each. */
  readonly notes: readonly string[];
}

export interface ComposeOverride {
  readonly services: Readonly<Record<string, { readonly labels: Readonly<Record<string, string>> }>>;
}

export interface ImportOptions {
  readonly file: string;
  readonly namespace: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Throws Invalid for what is no Compose file. */
export function importCompose(text: string, { file, namespace, env }: ImportOptions): Imported {
  const notes: string[] = [];
  const { services, include, ...rest } = readFile(text, file);
  if (include !== undefined) notes.push("include: other files are not read; import each by itself");
  const others = unread(rest, new Set(["name", "version"]));
  if (others.length > 0) notes.push(`${others.join(", ")} of the file: passed over, Compose's own affair as before`);
  const made = new Map<string, { readonly from: string; readonly service: ServiceInput }>();
  const labels: Record<string, { labels: Record<string, string> }> = {};
  for (const name of Object.keys(services)) {
    const service = withExtended(name, services);
    const note = (line: string): void => void notes.push(`${name}: ${line}`);
    const ports = portsOf(service, { valueOf: (value) => interpolated(value, env), note });
    const own = serviceName(name, note);
    tellWhatIsLeft(service, note);
    if (own === undefined) continue;
    if (ports.length === 0) {
      note("no ports: nothing connects to it by a service; name its ports under `expose` if something does");
      continue;
    }
    const clash = made.get(own)?.from;
    if (clash !== undefined)
      throw new AppError("Invalid", `${file}: ${clash} and ${name} would both be the service ${own}`, {
        hint: "give one of them another name",
      });
    made.set(own, { from: name, service: serviceOf(own, { service, ports, namespace }) });
    labels[name] = { labels: labelsOf(own, { ports, namespace }) };
  }
  return { services: [...made.values()].map(({ service }) => service), override: { services: labels }, notes };
}

function readFile(text: string, file: string): ReturnType<typeof ComposeFile.parse> {
  const document = parseDocument(text, { merge: true });
  const [fault] = document.errors;
  if (fault) throw new AppError("Invalid", `${file}: ${fault.message.split("\n")[0] ?? "is no YAML"}`, { cause: fault });
  const parsed = ComposeFile.safeParse(toPlain(document, file));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new AppError("Invalid", `${file} is no Compose file: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "is not valid"}`, {
    hint: "name a docker-compose.yml, with `services`",
  });
}

function toPlain(document: { toJS: () => unknown }, file: string): unknown {
  try {
    return document.toJS();
  } catch (cause) {
    throw new AppError("Invalid", `${file}: too many aliases`, { cause }); // a "billion laughs" document
  }
}

/** Compose takes more for a name than DNS does. */
function serviceName(name: string, note: (line: string) => void): string | undefined {
  if (Rfc1035Label.safeParse(name).success) return name;
  const mended = name.toLowerCase().replaceAll(/[^a-z0-9-]+/g, "-");
  if (!Rfc1035Label.safeParse(mended).success) {
    note("its name can be no DNS name: left out");
    return undefined;
  }
  note(`its name is no DNS label: the service is called ${mended}`);
  return mended;
}

interface Made {
  readonly ports: readonly ServicePort[];
  readonly namespace: string | undefined;
}

function serviceOf(name: string, { service, ports, namespace }: Made & { readonly service: ComposeService }): ServiceInput {
  const isHeadless = service.deploy?.endpoint_mode === "dnsrr";
  const isOne = ports.length === 1;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, ...(namespace !== undefined && { namespace }) },
    spec: {
      selector: { app: name },
      ...(isHeadless && { clusterIP: "None" }),
      ports: ports.map(({ name: portName, port, protocol }) => ({
        ...(isOne && portName === undefined ? {} : { name: portName ?? `${protocol.toLowerCase()}-${port}` }),
        port,
        targetPort: port,
        protocol,
      })),
    },
  };
}

function labelsOf(name: string, { ports, namespace }: Made): Record<string, string> {
  const port = ports.map(({ port: number, protocol }) => `${number}${protocol === "TCP" ? "" : `/${protocol.toLowerCase()}`}`).join(",");
  return { "fairlead.service": name, "fairlead.port": port, ...(namespace !== undefined && { "fairlead.namespace": namespace }) };
}

/** What has no place in a Service, by name also where Compose goes on doing it. */
function tellWhatIsLeft(
  { scale, deploy, healthcheck, networks, network_mode, profiles, extends: base, ports: _ports, expose: _expose, ...more }: ComposeService,
  note: (line: string) => void,
): void {
  const replicas = deploy?.replicas ?? scale;
  if (replicas !== undefined && replicas !== "1")
    note(
      `${replicas} replicas: each container becomes a workload where it runs, with fairlead agent --docker; a fixed published port fits one a host`,
    );
  if (healthcheck && healthcheck.disable !== true)
    note("healthcheck: Docker goes on running it, and fairlead agent --docker takes its verdict as readiness");
  const aliases = aliasesOf(networks);
  if (aliases.length > 0) note(`aliases ${aliases.join(", ")}: a service has one name; make an ExternalName service for each that is used`);
  if (network_mode?.startsWith("service:") === true || network_mode?.startsWith("container:") === true)
    note(`network_mode ${network_mode}: the labels belong to the container whose network it is`);
  if (network_mode === "none") note("network_mode none: nobody reaches it");
  if (profiles) note(`profiles ${profiles.join(", ")}: the service is there whether they are active or not`);
  if (base !== undefined) note("extends: what it takes over from the other file is not read");
  const others = unread(more, new Set(["image", "build", "labels", "container_name"]));
  if (others.length > 0) note(`${others.join(", ")}: passed over, Compose's own affair as before`);
}

/** The keys of a part of the file that nothing was made of. */
function unread(part: object, known: ReadonlySet<string>): string[] {
  return Object.keys(part).filter((key) => !known.has(key) && !key.startsWith("x-"));
}

function aliasesOf(networks: unknown): string[] {
  if (typeof networks !== "object" || networks === null || Array.isArray(networks)) return [];
  return Object.values(networks).flatMap((network: unknown) => {
    const aliases: unknown = typeof network === "object" && network !== null && "aliases" in network ? network.aliases : undefined;
    return Array.isArray(aliases) ? aliases.filter((alias) => typeof alias === "string") : [];
  });
}
