import type { z } from "zod";
import { DnsLabel, PortName, PortNumber, Protocol, Rfc1035Label } from "#proto/meta.ts";

/** The labels of a container that are for us. `fairlead.service` is what makes it a Workload. */
export const SERVICE_LABEL = "fairlead.service";

export interface WantedPort {
  readonly name?: string;
  /** As the program in the container has it. */
  readonly port: number;
  readonly protocol: Protocol;
}

export interface ContainerWish {
  readonly service: string;
  readonly namespace: string;
  /** Empty = those that the image exposes or the engine publishes. */
  readonly ports: readonly WantedPort[];
  readonly weight: number;
  readonly check: WishedCheck | undefined;
  /** Make the Service where there is none. */
  readonly expose: boolean;
  /** Labels of the Workload. */
  readonly labels: Readonly<Record<string, string>>;
}

/** Without a port: the first one. */
export type WishedCheck =
  | { readonly kind: "http"; readonly port?: string | number; readonly path: string }
  | { readonly kind: "tcp"; readonly port?: string | number };

const COMPOSE_PROJECT = "com.docker.compose.project";
const COMPOSE_SERVICE = "com.docker.compose.service";
const KNOWN = ["service", "namespace", "port", "weight", "check", "expose", "labels"].map((name) => `fairlead.${name}`);
const MAX_QUOTED = 100;
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?$/;
const LABEL_KEY = /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?$/;

/** What the labels ask for; undefined when they ask for nothing. Throws with the label that is wrong, and how it is written. */
export function readLabels(labels: Readonly<Record<string, string>>): ContainerWish | undefined {
  const service = labels[SERVICE_LABEL];
  if (service === undefined) return undefined;
  const unknown = Object.keys(labels).find((name) => name.startsWith("fairlead.") && !KNOWN.includes(name));
  if (unknown !== undefined) throw new Error(`there is no label ${cut(unknown)}; there are ${KNOWN.join(", ")}`);
  return {
    service: checked(Rfc1035Label, service, `${SERVICE_LABEL}=${cut(service)}`),
    namespace: checked(DnsLabel, labels["fairlead.namespace"] ?? "default", "fairlead.namespace"),
    ports: listOf(labels["fairlead.port"]).map(portOf),
    weight: weightOf(labels["fairlead.weight"]),
    check: checkOf(labels["fairlead.check"]),
    expose: exposeOf(labels["fairlead.expose"]),
    labels: { ...composeLabels(labels), ...moreLabels(labels["fairlead.labels"], service), app: service },
  };
}

/** `80`, `http=80`, `dns=53/udp`. */
function portOf(text: string): WantedPort {
  const [, name, digits = "", protocol = "tcp"] = /^(?:([^=]+)=)?(\d+)(?:\/(tcp|udp|sctp))?$/i.exec(text) ?? [];
  const wrong = `fairlead.port: "${cut(text)}" is no port; write it like 80, http=80 or http=80,dns=53/udp`;
  const port = checked(PortNumber, Number(digits), wrong);
  return {
    ...(name !== undefined && { name: checked(PortName, name, wrong) }),
    port,
    protocol: checked(Protocol, protocol.toUpperCase(), wrong),
  };
}

function weightOf(text = "1"): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new Error(`fairlead.weight: "${cut(text)}" is no number from 0 to 65535`);
  return Number(text);
}

/** `http:/healthz`, `http:8080/healthz`, `http:metrics/healthz`, `tcp`, `tcp:8080`. */
function checkOf(text: string | undefined): WishedCheck | undefined {
  if (text === undefined) return undefined;
  const [, kind, at = "", path = ""] = /^(http|tcp)(?::([^/]*)(\/.*)?)?$/.exec(text) ?? [];
  const port = at === "" ? {} : { port: /^\d+$/.test(at) ? Number(at) : at };
  if (kind === "http") return { kind, ...port, path: path === "" ? "/" : path };
  if (kind === "tcp" && path === "") return { kind, ...port };
  throw new Error(`fairlead.check: "${cut(text)}" is no check; write it like http:/healthz, http:8080/healthz, tcp or tcp:5432`);
}

function exposeOf(text = "false"): boolean {
  if (text !== "true" && text !== "false") throw new Error(`fairlead.expose: "${cut(text)}" is neither true nor false`);
  return text === "true";
}

/** What Compose calls it; not all that it takes for a name may stand in a label. */
function composeLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  const found = { "app.kubernetes.io/name": labels[COMPOSE_SERVICE], "app.kubernetes.io/part-of": labels[COMPOSE_PROJECT] };
  return Object.fromEntries(
    Object.entries(found).flatMap(([key, value]) => (value !== undefined && LABEL_VALUE.test(value) ? [[key, value]] : [])),
  );
}

/** `tier=front,track=canary`. The label `app` is the service's: by it the Service finds the container. */
function moreLabels(text: string | undefined, service: string): Record<string, string> {
  return Object.fromEntries(
    listOf(text).map((pair) => {
      const [, key = "", value = ""] = /^([^=]+)=(.*)$/.exec(pair) ?? [];
      if (!LABEL_KEY.test(key) || !LABEL_VALUE.test(value))
        throw new Error(`fairlead.labels: "${cut(pair)}" is no label; write them like tier=front,track=canary`);
      if (key === "app" && value !== service) throw new Error(`fairlead.labels: app is ${service}, as ${SERVICE_LABEL} says; leave it out`);
      return [key, value];
    }),
  );
}

function listOf(text: string | undefined): string[] {
  return (text ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function checked<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const found = schema.safeParse(value);
  if (found.success) return found.data;
  throw new Error(`${what}: ${found.error.issues[0]?.message ?? "is not valid"}`);
}

/** A label's value may be 100 KB long; this is told to people. */
function cut(text: string): string {
  return text.length <= MAX_QUOTED ? text : `${text.slice(0, MAX_QUOTED)}…`;
}
