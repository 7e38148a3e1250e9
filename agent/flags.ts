import { Option, type Command } from "commander";
import { pino, type Logger } from "pino";
import { AppError } from "#proto/error.ts";
import { formatCidr, parseCidr, parseIp, prefixOf } from "#proto/ip.ts";
import { DEFAULT_CREDENTIALS, DEFAULT_STATE_DIR, DEFAULT_WORKLOADS_DIR } from "./config.ts";
import { DEFAULT_CONNTRACK, type ConntrackSettings } from "./dataplane/conntrack-settings.ts";
import { DATAPLANES, DEFAULT_DATAPLANE } from "./dataplane/select.ts";
import { parseAllowedRange } from "./dns/allowed-range.ts";
import type { ListenAddress } from "./dns/listen.ts";
import { parseServer } from "./dns/server-address.ts";
import { parseStubDomain, type StubDomain } from "./dns/stub-domains.ts";
import type { Upstream } from "./dns/upstream-udp.ts";

/** The flags of a running agent, and how they are read. */

export interface CommonFlags {
  readonly kubeconfig: string;
  readonly logLevel: string;
  readonly stateDir?: string;
}

export interface RunFlags extends CommonFlags {
  readonly workloadsDir: string;
  /** true: the flag without a path. */
  readonly docker?: string | true;
  readonly dockerRouted: boolean;
  readonly dataplane: string;
  readonly dnsListen: readonly ListenAddress[];
  readonly dnsListeners: number;
  readonly dnsUpstream: readonly Upstream[];
  readonly dnsStub: readonly StubDomain[];
  readonly dnsAllow: readonly string[];
  readonly configureResolver: boolean;
  readonly masqueradeAll: boolean;
  readonly nodePortAddress: readonly string[];
  readonly conntrackMaxPerCore: number;
  readonly conntrackMin: number;
  readonly conntrackEstablished: number;
  readonly conntrackCloseWait: number;
  readonly conntrackLiberal: boolean;
  readonly healthzListen: ListenAddress | "off";
}

export const DEFAULT_DOCKER_SOCKET = "/var/run/docker.sock";
const DNS_PORT = 53;
const MAX_DNS_LISTENERS = 64;
/** As kube-proxy's. */
const HEALTHZ: ListenAddress = { address: "127.0.0.1", port: 10256 };

export function withRunFlags(command: Command): Command {
  return command
    .option("--kubeconfig <file>", "this node's credential", DEFAULT_CREDENTIALS)
    .option("--state-dir <folder>", `where the agent keeps what it knows (default: as it joined, or ${DEFAULT_STATE_DIR})`)
    .option("--workloads-dir <folder>", "Workload manifests of this host", DEFAULT_WORKLOADS_DIR)
    .option(
      "--docker [socket]",
      `register this host's containers that have the label fairlead.service; without a path: ${DEFAULT_DOCKER_SOCKET}`,
    )
    .option(
      "--docker-routed",
      "with --docker: announce the subnets of Docker's bridge networks, so that every host of the fleet has a route to containers that are not published, and is let in",
      false,
    )
    .addOption(
      new Option("--dataplane <driver>", "what programs the kernel; auto = the best that works here, and the log says why")
        .choices(DATAPLANES)
        .default(DEFAULT_DATAPLANE),
    )
    .addOption(
      repeated("--node-port-address <cidr>", "where node ports are, like 10.0.0.0/24; may be repeated", {
        parse: collectCidr,
        otherwise: "at every address of the host, 127.0.0.1 included",
      }),
    )
    .addOption(
      repeated("--dns-listen <address>", "where DNS answers, besides the DNS service's virtual IP and 127.0.0.153; may be repeated", {
        parse: collectListen,
        otherwise: "nowhere else",
      }),
    )
    .option(
      "--dns-listeners <number>",
      "how many threads answer DNS questions; more than one only for many thousand questions a second",
      parseCount,
      1,
    )
    .addOption(
      repeated("--dns-upstream <address>", "who is asked for all other names; may be repeated", {
        parse: collectServer,
        otherwise: "whom the host's resolv.conf names, or named before it named this agent",
      }),
    )
    .addOption(
      repeated(
        "--dns-stub <domain=servers>",
        "who is asked for the names of a domain, like corp.example=10.0.0.1,10.0.0.2:5353; may be repeated",
        {
          parse: (text: string, all: readonly StubDomain[]) => [...all, parseStubDomain(text)],
          otherwise: "dnsStubs in agent.yaml, which hold beside these",
        },
      ),
    )
    .addOption(
      repeated(
        "--dns-allow <cidr>",
        "who may ask besides this host, its networks and its containers, like 192.168.7.0/24; may be repeated",
        {
          parse: (text: string, all: readonly string[]) => [...all, parseAllowedRange(text)],
          otherwise: "dnsAllow in agent.yaml, which holds beside these",
        },
      ),
    )
    .option("--configure-resolver", "`fairlead dns install` at each start, where systemd-resolved runs", false)
    .option("--masquerade-all", "every connection through a virtual IP (ClusterIP) gets this host's address as source", false)
    .option(
      "--conntrack-max-per-core <n>",
      "how many connections the kernel can track at least, for each processor; never lowered, 0 = as it is",
      parseNumber,
      DEFAULT_CONNTRACK.maxPerCore,
    )
    .option("--conntrack-min <n>", "and at least so many, whatever the number of processors", parseNumber, DEFAULT_CONNTRACK.min)
    .option(
      "--conntrack-established <s>",
      "how many seconds a TCP connection may be idle at least; never lowered, 0 = as it is",
      parseNumber,
      DEFAULT_CONNTRACK.establishedSeconds,
    )
    .option("--conntrack-close-wait <s>", "the same, of one that one end has closed", parseNumber, DEFAULT_CONNTRACK.closeWaitSeconds)
    .option("--conntrack-liberal", "let TCP packets through that are out of their window", DEFAULT_CONNTRACK.isLiberal)
    .addOption(
      new Option("--healthz-listen <address>", "where /readyz, /livez, /healthz and /metrics are answered; off = nowhere")
        .argParser(parseHealthz)
        .default(HEALTHZ, `${HEALTHZ.address}:${HEALTHZ.port}`),
    )
    .option("--log-level <level>", "trace, debug, info, warn, error", "info");
}

interface Repeated<Value> {
  readonly parse: (text: string, all: readonly Value[]) => Value[];
  /** In words: what holds without it. */
  readonly otherwise: string;
}

export function repeated<Value>(flags: string, description: string, { parse, otherwise }: Repeated<Value>): Option {
  return new Option(flags, description).argParser<Value[]>(parse).default([], otherwise);
}

export function openLog(level: string): Logger {
  if (!["trace", "debug", "info", "warn", "error"].includes(level))
    throw new AppError("Usage", `there is no log level "${level}"`, { hint: "use trace, debug, info, warn or error" });
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } });
}

export function collect(value: string, all: readonly string[]): string[] {
  return [...all, value];
}

/** A name server: its address may have a zone, as link-local ones have. */
function collectServer(text: string, all: readonly Upstream[]): Upstream[] {
  const server = parseServer(text);
  if (!server)
    throw new AppError("Usage", `"${text}" is no name server`, {
      hint: "write it like 10.0.0.1, 10.0.0.1:5353, [fd00::1]:5353 or fe80::1%eth0",
    });
  return [...all, server];
}

function collectListen(text: string, all: readonly ListenAddress[]): ListenAddress[] {
  return [...all, parseListen(text, DNS_PORT)];
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > MAX_DNS_LISTENERS)
    throw new AppError("Usage", `"${text}" is no number of threads`, { hint: `from 1 to ${MAX_DNS_LISTENERS}` });
  return count;
}

/** What a setting of the kernel can hold. */
function parseNumber(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > 2 ** 31 - 1)
    throw new AppError("Usage", `"${text}" is no number`, { hint: "whole numbers from 0; 0 = the kernel's own value stays" });
  return number;
}

export function conntrackOf(flags: RunFlags): ConntrackSettings {
  return {
    maxPerCore: flags.conntrackMaxPerCore,
    min: flags.conntrackMin,
    establishedSeconds: flags.conntrackEstablished,
    closeWaitSeconds: flags.conntrackCloseWait,
    isLiberal: flags.conntrackLiberal,
  };
}

function parseHealthz(text: string): ListenAddress | "off" {
  return text === "off" ? "off" : parseListen(text, HEALTHZ.port);
}

/** `10.0.0.1`, `10.0.0.1:5353`, `[::1]:53`. */
export function parseListen(text: string, defaultPort: number): ListenAddress {
  const [, bracketed, plain, portText = String(defaultPort)] = parseIp(text)
    ? ["", text]
    : (/^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text) ?? []);
  const address = bracketed ?? plain ?? "";
  const port = Number(portText);
  if (!parseIp(address) || port < 1 || port > 65_535)
    throw new AppError("Usage", `"${text}" is no address`, { hint: "write it like 10.0.0.1, 10.0.0.1:5353 or [fd00::1]:5353" });
  return { address, port };
}

/** A prefix, or an address alone. */
export function collectCidr(text: string, all: readonly string[]): string[] {
  const ip = parseIp(text);
  const cidr = ip ? prefixOf(ip, ip.family === "IPv4" ? 32 : 128) : parseCidr(text);
  if (!cidr) throw new AppError("Usage", `"${text}" is no prefix`, { hint: "write it like 10.0.0.0/24 or fd00::/64, with host bits zero" });
  return [...all, formatCidr(cidr)];
}
