import { clusterIpsOf, type Service } from "#proto/service.ts";

/**
 * The variables by which programs find services: those of a kubelet (NAME_SERVICE_HOST …) and those of Docker links (NAME_PORT …).
 * Services without a virtual IP have none. Order and form: Kubernetes, pkg/kubelet/envvars.
 */
export function serviceVariables(services: readonly Service[]): [name: string, value: string][] {
  return services.flatMap((service) => {
    const [ip] = clusterIpsOf(service);
    return ip === undefined ? [] : variablesOf(service, ip);
  });
}

function variablesOf({ metadata, spec }: Service, ip: string): [string, string][] {
  const prefix = variableName(metadata.name);
  const [first] = spec.ports;
  if (!first) return [];
  const host = ip.includes(":") ? `[${ip}]` : ip;
  const url = (port: Service["spec"]["ports"][number]): string => `${port.protocol.toLowerCase()}://${host}:${port.port}`;
  return [
    [`${prefix}_SERVICE_HOST`, ip],
    [`${prefix}_SERVICE_PORT`, String(first.port)],
    ...spec.ports.flatMap(({ name, port }): [string, string][] =>
      name === undefined || name === "" ? [] : [[`${prefix}_SERVICE_PORT_${variableName(name)}`, String(port)]],
    ),
    [`${prefix}_PORT`, url(first)],
    ...spec.ports.flatMap((port): [string, string][] => {
      const link = `${prefix}_PORT_${port.port}_${port.protocol}`;
      return [
        [link, url(port)],
        [`${link}_PROTO`, port.protocol.toLowerCase()],
        [`${link}_PORT`, String(port.port)],
        [`${link}_ADDR`, ip],
      ];
    }),
  ];
}

function variableName(name: string): string {
  return name.toUpperCase().replaceAll("-", "_");
}

export function renderVariables(variables: readonly (readonly [string, string])[], format: "shell" | "dotenv" | "json"): string {
  if (format === "json") return `${JSON.stringify(Object.fromEntries(variables), null, 4)}\n`;
  // Docker's --env-file takes values as they stand; quotes would become part of them. Values are addresses and numbers: they hold no line break.
  const value = format === "shell" ? shellQuoted : (text: string): string => text;
  return variables.map(([name, text]) => `${name}=${value(text)}\n`).join("");
}

/** As one word of a POSIX shell, whatever it holds. */
export function shellQuoted(text: string): string {
  return /^[A-Za-z0-9_./:@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
