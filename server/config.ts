import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { Command, CommanderError } from "commander";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { AppError } from "#proto/error.ts";
import { formatIp, nthAddress, parseCidr } from "#proto/ip.ts";
import { DnsSubdomain, Duration, durationMs } from "#proto/meta.ts";
import type { ClusterFacts } from "#proto/agents.ts";
import { checkLoadBalancerRanges, checkServiceRanges, overlappingRanges, parsePortRange } from "./config-ranges.ts";
import { VERSION } from "./version.ts";

/** Flags, environment and file → Config. A flag counts before the environment, that before the file, that before the default. */

export interface Config {
  readonly listen: { readonly host: string; readonly port: number };
  readonly dataDir: string;
  readonly cluster: ClusterFacts;
  /** Addresses for services of type LoadBalancer, one range of each IP family at most; empty = none are given out. */
  readonly loadBalancerCidrs: readonly string[];
  /** Names and addresses by which others reach this server; the first is in the join command. */
  readonly advertise: readonly string[];
  readonly kubeconfigOut: string;
  readonly logLevel: LogLevel;
}

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const DEFAULT_FILE = "/etc/fairlead/server.yaml";
const DNS_INDEX = 10n;

/** What each setting is called where, in the order of --help. */
const SETTINGS = {
  listen: { flag: "--listen <host:port>", text: "address and port to listen on", default: "0.0.0.0:7443" },
  dataDir: {
    flag: "--data-dir <folder>",
    text: "where the store and the certificate authority are kept",
    default: "/var/lib/fairlead/server",
  },
  serviceCidr: {
    flag: "--service-cidr <range...>",
    text: "range of the virtual IPs; one of each IP family at most",
    default: "10.96.0.0/16",
  },
  clusterDomain: {
    flag: "--cluster-domain <domain...>",
    text: "domain of all names; of several, the first is the one that reverse names lead to",
    default: "cluster.local",
  },
  nodePortRange: { flag: "--node-port-range <from-to>", text: "ports for services of type NodePort", default: "30000-32767" },
  loadBalancerCidr: {
    flag: "--load-balancer-cidr <range...>",
    text: "addresses for services of type LoadBalancer, routed to the hosts; one range of each IP family at most; default: none",
    default: [],
  },
  nodeTimeout: { flag: "--node-timeout <time>", text: "a host not heard of for so long is out of rotation", default: "5s" },
  heartbeatInterval: { flag: "--heartbeat-interval <time>", text: "hosts say so often that they are alive", default: "1s" },
  advertise: {
    flag: "--advertise <name...>",
    text: "further names and addresses of this server, for its certificate; the first is in the join command",
    default: [],
  },
  kubeconfigOut: {
    flag: "--kubeconfig-out <file>",
    text: "where the administrator's credential goes",
    default: "/etc/fairlead/admin.yaml",
  },
  logLevel: { flag: "--log-level <level>", text: LOG_LEVELS.join(", "), default: "info" },
} as const satisfies Record<string, { flag: string; text: string; default: string | readonly string[] }>;
type Setting = keyof typeof SETTINGS;
const settings = Object.keys(SETTINGS) as readonly Setting[]; // the keys of the literal above

const EXAMPLES = `
Each setting can also stand in the file (in camelCase: serviceCidr) or in the environment (FAIRLEAD_SERVICE_CIDR); flags come first,
then the environment, then the file ${DEFAULT_FILE}.

Examples:
  sudo fairlead server                                       # everything at its default; prints how other hosts join
  sudo fairlead server --advertise 192.168.56.10             # the address that other hosts reach it by
  fairlead server --listen 127.0.0.1:7443 --data-dir ./data --kubeconfig-out ./admin.yaml
  sudo fairlead server --service-cidr 10.200.0.0/16 --service-cidr fd00:10:96::/112
  sudo fairlead server --load-balancer-cidr 192.168.56.240/28   # services of type LoadBalancer get an address of these
`;

/** `a,b` in the environment, a list in the file, a repeated flag. */
const listOf = z
  .union([z.string().transform((text) => [text]), z.array(z.string())])
  .transform((texts) => texts.flatMap((text) => text.split(",").map((one) => one.trim())));
const duration = (least: number) => Duration.transform(durationMs).pipe(z.number().min(least, `must be ${least} ms at least`));

const Settings = z.object({
  listen: z
    .string()
    .transform((text, context) => parseListen(text) ?? refuse(context, "must be host:port, like 0.0.0.0:7443 or [::]:7443")),
  dataDir: z.string().min(1),
  serviceCidr: listOf.superRefine(checkServiceRanges),
  clusterDomain: listOf.pipe(z.array(DnsSubdomain).min(1).max(9)).transform((domains) => [...new Set(domains)]),
  nodePortRange: z.string().transform((text, context) => parsePortRange(text) ?? refuse(context, "must be two ports like 30000-32767")),
  loadBalancerCidr: listOf.superRefine(checkLoadBalancerRanges),
  nodeTimeout: duration(100),
  heartbeatInterval: duration(50),
  advertise: listOf.pipe(
    z
      .array(
        z.string().refine((name) => isIP(name) !== 0 || DnsSubdomain.safeParse(name).success, "must be a name or an address, without port"),
      )
      .max(64),
  ),
  kubeconfigOut: z.string().min(1),
  logLevel: z.enum(LOG_LEVELS),
});

export interface ConfigInput {
  /** Without `node` and the script. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What `--help` prints goes here. */
  readonly print: (text: string) => void;
}

/** undefined when --help or --version was all that was asked. Throws Usage, naming the flag, variable or field. */
export function readConfig({ argv, env, print }: ConfigInput): Config | undefined {
  const given = readFlags(argv, print);
  if (!given) return undefined;
  const file = typeof given["config"] === "string" ? given["config"] : env["FAIRLEAD_CONFIG"];
  const fromFile = readFile(file ?? DEFAULT_FILE, file === undefined ? "optional" : "required");
  const values: Partial<Record<Setting, unknown>> = {};
  const sources: Partial<Record<Setting, string>> = {};
  for (const setting of settings) {
    const [value, source] = valueOf(setting, { given, env, fromFile, file: file ?? DEFAULT_FILE });
    values[setting] = value;
    sources[setting] = source;
  }
  const result = Settings.safeParse(values);
  if (result.success) return checkTogether(toConfig(result.data), sources);
  const lines = result.error.issues.map(({ path, message }) => {
    const setting = settings.find((one) => one === path[0]);
    return `${(setting && sources[setting]) ?? "configuration"}: ${message}${setting ? `, not ${JSON.stringify(values[setting])}` : ""}`;
  });
  throw usage(lines.join("; "));
}

function readFlags(argv: readonly string[], print: (text: string) => void): Record<string, unknown> | undefined {
  const command = new Command("fairlead server")
    .description("Runs the server: the state of the fleet, and what hosts ask for.")
    .version(VERSION)
    .option("--config <file>", `settings as YAML (default: ${DEFAULT_FILE})`)
    .exitOverride()
    .configureOutput({ writeOut: print, writeErr: () => undefined, outputError: () => undefined })
    .addHelpText("after", EXAMPLES)
    .allowExcessArguments(false);
  for (const { flag, text, default: value } of Object.values(SETTINGS))
    command.option(flag, value.length === 0 ? text : `${text} (default: ${value as string})`);
  try {
    return command.parse(argv, { from: "user" }).opts();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    throw usage(error.message.replace(/^error: /, ""));
  }
}

function valueOf(
  setting: Setting,
  from: { given: Record<string, unknown>; env: ConfigInput["env"]; fromFile: Record<string, unknown>; file: string },
): [value: unknown, source: string] {
  const kebab = setting.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const variable = `FAIRLEAD_${kebab.replaceAll("-", "_").toUpperCase()}`;
  if (from.given[setting] !== undefined) return [from.given[setting], `--${kebab}`];
  if (from.env[variable] !== undefined && from.env[variable] !== "") return [from.env[variable], variable];
  if (from.fromFile[setting] !== undefined) return [from.fromFile[setting], `${setting} in ${from.file}`];
  return [SETTINGS[setting].default, `--${kebab}`];
}

const MAX_FILE_BYTES = 64 * 1024;

function readFile(path: string, presence: "optional" | "required"): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (presence === "optional" && cause instanceof Error && "code" in cause && cause.code === "ENOENT") return {};
    throw new AppError("Usage", `cannot read ${path}`, { cause, hint: "--config names the file with the settings" });
  }
  let value: unknown;
  try {
    if (text.length > MAX_FILE_BYTES) throw new Error(`is larger than ${MAX_FILE_BYTES} bytes`);
    value = parseYaml(text) ?? {};
  } catch (cause) {
    throw new AppError("Usage", `${path} is not valid YAML: ${cause instanceof Error ? cause.message : ""}`, { cause });
  }
  const record = z.record(z.string(), z.unknown()).safeParse(value);
  if (!record.success) throw usage(`${path} must hold settings like "listen: 0.0.0.0:7443"`);
  const unknown = Object.keys(record.data).find((key) => !settings.some((one) => one === key));
  if (unknown !== undefined) throw usage(`${unknown} in ${path} is no setting; there are ${settings.join(", ")}`);
  return record.data;
}

function toConfig(values: z.output<typeof Settings>): Config {
  const ranges = values.serviceCidr.flatMap((text) => parseCidr(text) ?? []).toSorted((a, b) => a.family.localeCompare(b.family, "en"));
  return {
    listen: values.listen,
    dataDir: values.dataDir,
    advertise: values.advertise,
    kubeconfigOut: values.kubeconfigOut,
    logLevel: values.logLevel,
    loadBalancerCidrs: values.loadBalancerCidr.toSorted((a, b) =>
      (parseCidr(a)?.family ?? "").localeCompare(parseCidr(b)?.family ?? "", "en"),
    ),
    cluster: {
      domain: values.clusterDomain[0] ?? "",
      ...(values.clusterDomain.length > 1 && { moreDomains: values.clusterDomain.slice(1) }),
      serviceCidrs: ranges.map((range) => `${formatIp(nthAddress(range, 0n))}/${range.prefix}`),
      dnsIps: ranges.map((range) => formatIp(nthAddress(range, DNS_INDEX))),
      nodePortRange: values.nodePortRange,
      heartbeatIntervalMs: values.heartbeatInterval,
      nodeTimeoutMs: values.nodeTimeout,
    },
  };
}

function checkTogether(config: Config, sources: Partial<Record<Setting, string>>): Config {
  const { heartbeatIntervalMs, nodeTimeoutMs, serviceCidrs } = config.cluster;
  const [pool, range] = overlappingRanges(config.loadBalancerCidrs, serviceCidrs) ?? [];
  if (pool !== undefined && range !== undefined)
    throw usage(`${sources.loadBalancerCidr ?? ""}: ${pool} overlaps the range of virtual IPs ${range}`);
  if (nodeTimeoutMs < heartbeatIntervalMs * 2)
    throw usage(
      `${sources.nodeTimeout ?? ""}: must be at least twice the heartbeat interval (${heartbeatIntervalMs} ms), or one late heartbeat takes a host out`,
    );
  return config;
}

function parseListen(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  // Port 0: any free one, as tests want it.
  return host !== undefined && port <= 65_535 ? { host, port } : undefined;
}

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: "custom", message });
  return z.NEVER;
}

function usage(message: string): AppError {
  return new AppError("Usage", message, { hint: "fairlead server --help says what there is" });
}
