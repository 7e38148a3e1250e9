import { z } from "zod";
import { parseIp, type IpFamily } from "#proto/ip.ts";
import type { HostTable } from "#agent/compile/table.ts";
import { AppError } from "#proto/error.ts";
import type { KernelTools } from "../exec.ts";
import { ipWord } from "../iptables/names.ts";
import { DEVICE, MAIN_PRIORITY, MARK_BASE, MARK_MASK, MARKS, markWord, PAST_PRIORITY, ROUTE_TABLE, RULE_PRIORITY } from "./names.ts";
import { hasDevice } from "./proc.ts";

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
  look(signal: AbortSignal): Promise<DeviceLook>;
  /** shared = the driver of the other family has addresses on it. */
  standing(signal: AbortSignal): Promise<"none" | "ours" | "shared">;
}

export interface DeviceLook {
  /** Prefixes and addresses that are local by our routes, and what the host's own connections there begin with. */
  readonly addresses: ReadonlyMap<string, string | undefined>;
  /** The routing rules for external IPs. */
  readonly externalRules: "none" | "some" | "all";
}

/** Routes have a destination, rules a priority. */
const Listing = z.array(
  z.looseObject({
    type: z.string().optional(),
    dst: z.string().optional(),
    prefsrc: z.string().optional(),
    priority: z.number().optional(),
    src: z.string().optional(),
    iif: z.string().optional(),
    fwmark: z.string().optional(),
    fwmask: z.string().optional(),
    goto: z.number().optional(),
    table: z.string().optional(),
  }),
);
type Listed = z.output<typeof Listing>[number];
const TIMEOUT_MS = 10_000;

export function openDevice(tools: KernelTools, { family, procNet }: { readonly family: IpFamily; readonly procNet: string }): DeviceEdge {
  const option = familyOption(family);
  return {
    async ensure(signal) {
      if (!(await hasDevice(procNet))) await make(tools, procNet, signal);
    },
    look: (signal) => lookAt(tools, option, signal),
    async standing(signal) {
      if (!(await hasDevice(procNet))) return "none";
      return (await lookAt(tools, option === "-4" ? "-6" : "-4", signal)).addresses.size > 0 ? "shared" : "ours";
    },
  };
}

/** Both lists with one process. One that is refused (no such device, no IPv6 in the kernel) is empty. */
async function lookAt(tools: KernelTools, option: "-4" | "-6", signal: AbortSignal): Promise<DeviceLook> {
  const input = `rule show\nroute show table local dev ${DEVICE}\n`;
  const { stdout } = await tools.run("ip", ["-j", option, "-force", "-batch", "-"], {
    signal,
    input,
    timeoutMs: TIMEOUT_MS,
    accept: [1, 2],
  });
  const lines = stdout.split("\n").filter((line) => line.startsWith("["));
  const listed = lines.flatMap((line) => Listing.parse(JSON.parse(line)));
  const rules = [PAST_RULE, ROUTE_RULE].filter((ours) => listed.some((one) => ruleWords(one) === ours)).length;
  const routes = listed.flatMap(({ type, dst, prefsrc }) =>
    type === "local" && dst !== undefined && !isLinkLocal(dst) ? [[dst, prefsrc] as const] : [],
  );
  return { addresses: new Map(routes), externalRules: rules === 0 ? "none" : rules === 2 ? "all" : "some" };
}

/** As `ip rule` takes it. Others may have rules with our priorities: only all the words together say that one is ours. */
function ruleWords({ src = "all", priority, iif, fwmark, fwmask, goto, table }: Listed): string {
  return [
    ...(src === "all" ? [] : [`from ${src}`]),
    ...(iif === undefined ? [] : [`iif ${iif}`]),
    ...(fwmark === undefined ? [] : [`fwmark ${fwmark}${fwmask === undefined ? "" : `/${fwmask}`}`]),
    goto === undefined ? `lookup ${table}` : `goto ${goto}`,
    `priority ${priority}`,
  ].join(" ");
}

/**
 * Lines of `ip -batch`. What the host sends there begins with its own address, as if it had been translated on its way out. A device that is not up has
 * no routes: who adds one sees to that.
 */
export function addressLines(
  source: string | undefined,
  { added, removed }: { readonly added: readonly string[]; readonly removed: readonly string[] },
): readonly string[] {
  const from = source === undefined ? "" : ` src ${source}`;
  return [
    ...(added.length > 0 ? [UP] : []),
    ...added.map((prefix) => `route replace local ${prefix} dev ${DEVICE}${from}`),
    ...removed.map((prefix) => `route del local ${prefix} dev ${DEVICE}`),
  ];
}

export function sourceOf(family: IpFamily, { nodeIps }: Pick<HostTable, "nodeIps">): string | undefined {
  return nodeIps.map(ipWord).find((ip) => parseIp(ip)?.family === family);
}

const UP = `link set dev ${DEVICE} up`;

const PAST_RULE = `iif lo fwmark ${markWord(MARKS.external)} goto ${MAIN_PRIORITY} priority ${PAST_PRIORITY}`;
const ROUTE_RULE = `fwmark ${markWord(MARK_BASE)}/${markWord(MARK_MASK)} lookup ${ROUTE_TABLE} priority ${RULE_PRIORITY}`;
/** The metric makes it another route than one that somebody else has in a table of that number. */
const ROUTE = `local default dev ${DEVICE} table ${ROUTE_TABLE} metric ${ROUTE_TABLE}`;

/**
 * An external IP is somebody else's, and only packets for our ports of it are to come to INPUT: those have a mark. The kernel also asks which way back
 * a source has, from lo, and with the packet's mark where src_valid_mark is set (wg-quick does): the first rule leads past ours then. What the host
 * itself sends there has other marks of ours, until its virtual server has it: one that chooses a process of this host leaves the packet on the way
 * that it was on, which must be the way to this host.
 */
export const EXTERNAL_LINES: readonly string[] = [UP, `route replace ${ROUTE}`, `rule add ${PAST_RULE}`, `rule add ${ROUTE_RULE}`];

/** One at a time, in full words: what others have under our numbers is theirs. */
export const NO_EXTERNAL_LINES: readonly string[] = [`rule del ${PAST_RULE}`, `rule del ${ROUTE_RULE}`, `route del ${ROUTE}`];

async function make(tools: KernelTools, procNet: string, signal: AbortSignal): Promise<void> {
  let said = "";
  for (const type of DEVICE_TYPES) {
    const input = `link add ${DEVICE} type ${type}\nlink set dev ${DEVICE} addrgenmode none\n`; // no IPv6 address of its own
    const { stderr } = await tools.run("ip", ["-force", "-batch", "-"], { signal, input, timeoutMs: TIMEOUT_MS, accept: [1, 2] });
    if (await hasDevice(procNet)) return; // also when the driver of the other family was faster
    said ||= stderr.trim();
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
