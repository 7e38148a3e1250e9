import { hostname } from "node:os";
import { openFlowCleaner } from "#agent/dataplane/conntrack.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { createIpvsDriver, type IpvsDriverDeps } from "#agent/dataplane/ipvs/driver.ts";
import type { Requirement, Sysctls } from "#agent/dataplane/sysctl.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { Host } from "#test/fleet/host.ts";
import { procNetOf, type LogLine } from "./dataplane-rig.ts";

/** What a program in a guest begins and ends with. */
export interface GuestRun {
  /** Ends before the guest is ended, so that what went wrong is said. */
  readonly signal: AbortSignal;
  /** Said at once on stderr, and in the end by `print`. */
  readonly see: (name: string, what: unknown) => void;
  /** All that was seen, as one line of JSON. */
  readonly print: () => void;
}

export function beginInGuest(): GuestRun {
  if (hostname() !== "uml") throw new Error("this program changes the machine that it runs on: it belongs into User-Mode Linux");
  const seen: Record<string, unknown> = {};
  return {
    signal: AbortSignal.timeout(880_000),
    see: (name, what) => {
      seen[name] = what;
      process.stderr.write(`${Math.round(performance.now())} ms: ${name}: ${JSON.stringify(what)}\n`);
    },
    print: () => void process.stdout.write(`${JSON.stringify(seen)}\n`),
  };
}

/** The real IPVS driver, in this process, whose tools run on a host of the fleet. For programs in User-Mode Linux: test/fleet/uml.ts. */
export function ipvsDriverOn(
  machine: Host,
  family: IpFamily = "IPv4",
  more: Partial<IpvsDriverDeps> = {},
): { driver: DataplaneDriver; logged: LogLine[] } {
  const logged: LogLine[] = [];
  const at =
    (level: LogLine["level"]) =>
    (fields: object, message: string): void => {
      logged.push({ level, fields, message });
    };
  const log = { info: at("info"), warn: at("warn"), error: at("error") };
  const tools = openKernelTools({ enter: machine.enter });
  const driver = createIpvsDriver({
    tools,
    log,
    family,
    flows: openFlowCleaner({ family, tools, log }),
    sysctls: sysctlsOn(machine),
    procNet: procNetOf(machine),
    ...more,
  });
  return { driver, logged };
}

/** /proc/sys shows the settings of who opens it, which would be this process: they are set by a tool on the machine. What is kept has a test of its own. */
export function sysctlsOn(machine: Host): Sysctls {
  const before = new Map<string, string>();
  const set = async (name: string, value: string): Promise<void> => {
    await machine.run("sysctl", ["-q", "-w", `${name}=${value}`]);
  };
  return {
    async ensure(_host, { more = [] } = {}) {
      const wrong: Requirement[] = [];
      for (const one of more) {
        const { stdout } = await machine.run("sysctl", ["-n", one.name]);
        if (stdout.trim() === one.value) continue;
        if (!before.has(one.name)) before.set(one.name, stdout.trim());
        wrong.push(one);
      }
      for (const { name, value } of wrong) await set(name, value);
      return wrong.map(({ name, value }) => `${name}=${value}`);
    },
    async restore({ dryRun }) {
      const restored = Array.from(before, ([name, value]) => `sysctl ${name} back to ${value}`);
      if (dryRun) return restored;
      for (const [name, value] of before) await set(name, value);
      before.clear();
      return restored;
    },
  };
}

/** All that a host has in the kernel, byte for byte but for counters, and tables of iptables that are empty: whoever lists them makes those. */
export async function everythingOn(machine: Host): Promise<Readonly<Record<string, string>>> {
  const looks: readonly (readonly [string, ...string[]])[] = [
    ["iptables-save"],
    ["ip6tables-save"],
    ["ipset", "save"],
    ["ipvsadm", "-Sn"],
    ["ipvsadm", "-Ln", "--timeout"],
    ["ip", "-o", "link"],
    ["ip", "-o", "addr"],
    ["ip", "rule"],
    ["ip", "-6", "rule"],
    ["ip", "route", "show", "table", "all"],
    ["ip", "-6", "route", "show", "table", "all"],
    ["sysctl", "-a", "-r", "^net.(ipv4.(vs|ip_forward|conf)|ipv6.conf)"],
  ];
  const found: Record<string, string> = {};
  for (const [file, ...args] of looks) {
    const { stdout } = await machine.run(file, args);
    found[[file, ...args].join(" ")] = stdout
      .replaceAll(/^#.*(\n|$)/gm, "")
      .replaceAll(/ \[\d+:\d+\]$/gm, "")
      .replaceAll(EMPTY_TABLE, "");
  }
  return found;
}

const EMPTY_TABLE = /^\*\w+\n(?::\w+ ACCEPT\n)*COMMIT\n?/gm;

/** Whose rules there are: `FL-` are those of the iptables driver, `FLV-` those of IPVS. */
export async function ruleNamesOn(machine: Host): Promise<readonly string[]> {
  const { stdout } = await machine.run("iptables-save");
  return [...new Set(Array.from(stdout.matchAll(/^:(FL-|FLV-)/gm), ([, prefix = ""]) => prefix))];
}
