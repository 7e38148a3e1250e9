import type { CompiledService, ForwardingTable } from "#agent/compile/table.ts";
import { openFlowCleaner } from "#agent/dataplane/conntrack.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { createIptablesDriver } from "#agent/dataplane/iptables/driver.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { Host, IptablesKind } from "#test/fleet/host.ts";
import { fleetHost } from "#test/tables.ts";

/** The real driver, in this process, whose tools run on a host of the fleet. */

export interface LogLine {
  readonly level: "info" | "warn" | "error";
  readonly fields: object;
  readonly message: string;
}

export function driverOn(machine: Host, kind?: IptablesKind, family: IpFamily = "IPv4"): { driver: DataplaneDriver; logged: LogLine[] } {
  const logged: LogLine[] = [];
  const at =
    (level: LogLine["level"]) =>
    (fields: object, message: string): void => {
      logged.push({ level, fields, message });
    };
  const log = { info: at("info"), warn: at("warn"), error: at("error") };
  const tools = openKernelTools({ enter: machine.enter });
  const driver = createIptablesDriver({
    tools,
    log,
    kind,
    family,
    flows: openFlowCleaner({ family, tools, log }),
    // /proc/sys shows the settings of who opens it, which is this process: they have a test of their own.
    sysctls: { ensure: async () => [], restore: async () => [] },
    procNet: procNetOf(machine),
  });
  return { driver, logged };
}

/** /proc/net shows the namespace of who opens it: this is the one of the machine. */
export function procNetOf(machine: Host): string {
  const pid = machine.enter.map((word) => /^--target=(\d+)$/.exec(word)?.[1]).find((found) => found !== undefined);
  return `/proc/${pid ?? "self"}/net`;
}

export function tableOf(services: readonly CompiledService[]): ForwardingTable {
  return { host: fleetHost, services: new Map(services.map((service) => [service.key, service])) };
}

/** iptables-save without what is not state: comments with the time, counters, and the canary that names the last write. */
export async function saved(
  machine: Host,
  kind: IptablesKind,
  which: "all" | "foreign" | "ours" = "all",
  program = "iptables",
): Promise<string> {
  const { stdout } = await machine.run(`${program}-${kind}-save`);
  const lines = stdout.split("\n").filter((line) => line !== "" && !line.startsWith("#") && !line.startsWith("-A FL-CANARY "));
  const isOurs = (line: string): boolean => /^(:|-A )FL-/.test(line) || / -j FL-\S+$/.test(line);
  const wanted = which === "all" ? lines : lines.filter((line) => /^[*C]/.test(line) || isOurs(line) === (which === "ours"));
  return wanted.map((line) => line.replace(/ \[\d+:\d+\]$/, "")).join("\n");
}

export interface Answers {
  readonly answers: Readonly<Record<string, number>>;
  readonly failures: Readonly<Record<string, number>>;
  readonly slowest_ms: number;
}

export async function askHttp(
  from: Host,
  to: string,
  options: { requests?: number; everyMs?: number; timeoutMs?: number } = {},
): Promise<Answers> {
  const { requests = 1, everyMs = 0, timeoutMs = 2_000 } = options;
  const args = ["--url", `http://${to}/`, "--requests", String(requests), "--every-ms", String(everyMs), "--timeout-ms", String(timeoutMs)];
  const { stdout } = await from.run("node", ["test/fleet/http-ask.ts", ...args], { timeoutMs: 60_000 });
  return JSON.parse(stdout) as Answers;
}

export async function askUdp(from: Host, to: string, timeoutMs = 1_000): Promise<string> {
  const { stdout } = await from.run("node", ["test/fleet/udp-ask.ts", "--to", to, "--timeout-ms", String(timeoutMs)]);
  return stdout.trim();
}
