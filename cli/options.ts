import { AppError } from "#proto/error.ts";
import { Duration, durationMs, Protocol } from "#proto/meta.ts";

/** Values of options, checked. All throw Usage that names the option. */

export function durationOption(flag: string, text: string): number {
  const result = Duration.safeParse(text);
  if (result.success) return durationMs(result.data);
  throw new AppError("Usage", `${flag} ${text}: ${result.error.issues[0]?.message ?? "is not a duration"}`);
}

export function wholeOption(flag: string, text: string, { min, max }: { min: number; max: number }): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (value >= min && value <= max) return value;
  throw new AppError("Usage", `${flag} ${text}: must be a whole number from ${min} to ${max}`);
}

/** `app=web` pairs, each option one or several with commas. */
export function labelOptions(flag: string, texts: readonly string[]): Record<string, string> {
  const labels = new Map<string, string>();
  for (const pair of texts.flatMap((text) => text.split(","))) {
    const at = pair.indexOf("=");
    if (at < 1) throw new AppError("Usage", `${flag} ${pair}: must be KEY=VALUE, as in app=web`);
    const key = pair.slice(0, at);
    if (labels.has(key)) throw new AppError("Usage", `${flag} ${pair}: ${key} is given twice`);
    labels.set(key, pair.slice(at + 1));
  }
  return Object.fromEntries(labels);
}

/** A type, not an interface: it is laid into objects that may have more fields. */
export type PortOption = {
  readonly name?: string;
  readonly port: number;
  readonly protocol: Protocol;
};

/** `8080`, `http=8080`, `dns=53/udp`, `sig=2905/sctp`. */
export function portOption(text: string): PortOption {
  const match = /^(?:([^=/]+)=)?(\d{1,6})(?:\/(tcp|udp|sctp))?$/i.exec(text);
  if (!match) throw new AppError("Usage", `--port ${text}: must be [NAME=]PORT[/PROTOCOL], as in 8080, http=8080 or dns=53/udp`);
  const [, name, number, protocol = "TCP"] = match;
  const port = Number(number);
  if (port < 1 || port > 65535) throw new AppError("Usage", `--port ${text}: the port must be between 1 and 65535, inclusive`);
  return { ...(name !== undefined && { name }), port, protocol: Protocol.parse(protocol.toUpperCase()) };
}

/** A port by number or by name. */
export function portRef(text: string): number | string {
  return /^\d+$/.test(text) ? Number(text) : text;
}

export type CheckOption =
  { readonly http: { readonly port: number | string; readonly path: string } } | { readonly tcp: { readonly port: number | string } };

/** `http:/healthz` (of the first port), `http:8081/healthz`, `http:admin/healthz`, `tcp:5432`, `tcp:` (the first port). */
export function checkOption(text: string, ports: readonly PortOption[]): CheckOption {
  if (text.startsWith("exec:"))
    throw new AppError("Usage", `--check ${text}: commands are not taken through the API`, {
      hint: "put the workload with its exec check into /etc/fairlead/workloads.d/NAME.yaml on its host, whose agent follows that folder; README.md has an example",
    });
  const match = /^(http|tcp):([^/]*)(\/.*)?$/.exec(text);
  const [, kind, given = "", path] = match ?? [];
  if (kind === undefined || (kind === "tcp" && path !== undefined))
    throw new AppError("Usage", `--check ${text}: must be http:[PORT]/path or tcp:PORT, as in http:/healthz, http:8081/ or tcp:5432`);
  const first = ports.find(({ protocol }) => protocol === "TCP");
  const port = given === "" ? (first?.name ?? first?.port) : portRef(given);
  if (port === undefined)
    throw new AppError("Usage", `--check ${text}: on which port?`, { hint: "give a --port, or name one in the check: http:8080/healthz" });
  return kind === "http" ? { http: { port, path: path ?? "/" } } : { tcp: { port } };
}
