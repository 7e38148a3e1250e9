import { z } from "zod";
import { parseIp, type IpFamily } from "#proto/ip.ts";
import type { HostTable } from "#agent/compile/table.ts";
import { AppError } from "#proto/error.ts";
import type { KernelTools } from "../exec.ts";
import { ipWord } from "../iptables/names.ts";
import { DEVICE, MAIN_PRIORITY, MARK_BASE, MARK_MASK, MARKS, markWord, PAST_PRIORITY, ROUTE_TABLE, RULE_PRIORITY } from "./names.ts";

/**
 * Virtual IPs are addresses of this host by routes of type local on a device of ours: one for each range and one for each address of a load balancer.
 * A packet for them comes to INPUT, where virtual servers are, and one for an address that nobody has goes no further. No interface has them as
 * addresses of its own, so that neither people nor programs that list those find ten thousand.
 */

/** One kernel has this one, another that; a bridge without ports holds addresses as well as a dummy. */
const DEVICE_TYPES = ["dummy", "ifb", "bridge"] as const;

export interface DeviceEdge {
  /** Makes the device if it is not there. */
  ensure(signal: AbortSignal): Promise<void>;
  /** Prefixes and addresses that are local by our routes. */
  addresses(signal: AbortSignal): Promise<readonly string[]>;
  /** The routing rules for external IPs. */
  externalRules(signal: AbortSignal): Promise<"none" | "some" | "all">;
  /** shared = the driver of the other family has addresses on it. */
  standing(signal: AbortSignal): Promise<"none" | "ours" | "shared">;
}

const Routes = z.array(z.looseObject({ type: z.string().optional(), dst: z.string(), prefsrc: z.string().optional() }));
const Rules = z.array(z.looseObject({ priority: z.number().optional() }));
const TIMEOUT_MS = 10_000;

export function openDevice(tools: KernelTools, family: IpFamily): DeviceEdge {
  const option = familyOption(family);
  const json = async (of: "-4" | "-6", args: readonly string[], signal: AbortSignal): Promise<unknown> => {
    const { stdout, exitCode } = await tools.run("ip", ["-j", of, ...args], { signal, timeoutMs: TIMEOUT_MS, accept: [1, 2] });
    return exitCode === 0 && stdout.trim() !== "" ? JSON.parse(stdout) : [];
  };
  const addressesOf = async (of: "-4" | "-6", signal: AbortSignal): Promise<readonly string[]> => {
    const routes = Routes.parse(await json(of, ["route", "show", "table", "local", "dev", DEVICE], signal));
    return routes.flatMap(({ type, dst }) => (type === "local" && !isLinkLocal(dst) ? dst : []));
  };
  const isThere = async (signal: AbortSignal): Promise<boolean> =>
    (await tools.run("ip", ["link", "show", "dev", DEVICE], { signal, accept: [1], timeoutMs: TIMEOUT_MS })).exitCode === 0;
  return {
    async ensure(signal) {
      if (!(await isThere(signal))) await make(tools, isThere, signal);
      await tools.run("ip", ["link", "set", "dev", DEVICE, "up"], { signal, timeoutMs: TIMEOUT_MS });
    },
    addresses: (signal) => addressesOf(option, signal),
    async standing(signal) {
      if (!(await isThere(signal))) return "none";
      return (await addressesOf(family === "IPv4" ? "-6" : "-4", signal)).length > 0 ? "shared" : "ours";
    },
    async externalRules(signal) {
      const found = Rules.parse(await json(option, ["rule", "show"], signal)).map(({ priority }) => String(priority));
      const ours = [PAST_PRIORITY, RULE_PRIORITY].filter((one) => found.includes(one)).length;
      return ours === 0 ? "none" : ours === 2 ? "all" : "some";
    },
  };
}

/** Lines of `ip -batch`. What the host sends there begins with its own address, as if it had been translated on its way out. */
export function addressLines(
  family: IpFamily,
  { nodeIps }: HostTable,
  { added, removed }: { readonly added: readonly string[]; readonly removed: readonly string[] },
): readonly string[] {
  const source = nodeIps.map(ipWord).find((ip) => parseIp(ip)?.family === family);
  const from = source === undefined ? "" : ` src ${source}`;
  return [
    ...added.map((prefix) => `route replace local ${prefix} dev ${DEVICE}${from}`),
    ...removed.map((prefix) => `route del local ${prefix} dev ${DEVICE}`),
  ];
}

/**
 * An external IP is somebody else's, and only packets for our ports of it are to come to INPUT: those have a mark. The kernel also asks which way back
 * a source has, from lo, and with the packet's mark where src_valid_mark is set (wg-quick does): the first rule leads past ours then. What the host
 * itself sends there has other marks of ours, until its virtual server has it: one that chooses a process of this host leaves the packet on the way
 * that it was on, which must be the way to this host.
 */
export const EXTERNAL_LINES: readonly string[] = [
  `route replace local default dev ${DEVICE} table ${ROUTE_TABLE}`,
  `rule add iif lo fwmark ${markWord(MARKS.external)} goto ${MAIN_PRIORITY} priority ${PAST_PRIORITY}`,
  `rule add fwmark ${markWord(MARK_BASE)}/${markWord(MARK_MASK)} lookup ${ROUTE_TABLE} priority ${RULE_PRIORITY}`,
];

export const NO_EXTERNAL_LINES: readonly string[] = [
  `rule del priority ${PAST_PRIORITY}`,
  `rule del priority ${RULE_PRIORITY}`,
  `route flush table ${ROUTE_TABLE}`,
];

async function make(tools: KernelTools, isThere: (signal: AbortSignal) => Promise<boolean>, signal: AbortSignal): Promise<void> {
  const options = { signal, timeoutMs: TIMEOUT_MS, accept: [1, 2] };
  let said = "";
  for (const type of DEVICE_TYPES) {
    const { exitCode, stderr } = await tools.run("ip", ["link", "add", DEVICE, "type", type], options);
    if (exitCode !== 0 && !(await isThere(signal))) {
      said ||= stderr.trim();
      continue; // and if it is there, the driver of the other family was faster
    }
    await tools.run("ip", ["link", "set", "dev", DEVICE, "addrgenmode", "none"], options); // no IPv6 address of its own
    return;
  }
  throw new AppError("KernelRejected", `cannot make the device ${DEVICE}: ${said.slice(0, 200)}`, {
    hint: `the kernel needs one of the modules ${DEVICE_TYPES.join(", ")}`,
  });
}

/** Everything that the kernel gives a device of its own accord. */
function isLinkLocal(prefix: string): boolean {
  return /^(fe80:|ff)/.test(prefix);
}

export function familyOption(family: IpFamily): "-4" | "-6" {
  return family === "IPv4" ? "-4" : "-6";
}
