import { release } from "node:os";
import { z } from "zod";
import { contains, parseIp, prefixOf } from "#proto/ip.ts";
import type { KernelTools } from "../exec.ts";
import type { Requirement } from "../sysctl.ts";

/** Settings of the kernel that virtual servers need. */

const CONNTRACK_SINCE: readonly [number, number] = [5, 9];

export const IPVS_REQUIREMENTS: readonly Requirement[] = [
  { name: "net.ipv4.vs.conntrack", value: "1", why: "without it, what virtual servers send on cannot be masqueraded" },
  { name: "net.ipv4.vs.expire_nodest_conn", value: "1", why: "flows whose endpoint has gone go to another, instead of nowhere" },
  { name: "net.ipv4.vs.expire_quiescent_template", value: "1", why: "affinity ends with the endpoint" },
  ...(isOlderThan(release(), CONNTRACK_SINCE)
    ? [
        {
          name: "net.ipv4.vs.conn_reuse_mode",
          value: "0",
          why: "before Linux 5.9, a client port that is used again waits for a second otherwise",
        },
      ]
    : []),
];

export function isOlderThan(text: string, [major, minor]: readonly [number, number]): boolean {
  const [, first = 0, second = 0] = (/^(\d+)\.(\d+)/.exec(text) ?? []).map(Number);
  return first < major || (first === major && second < minor);
}

const Addresses = z.array(
  z.looseObject({
    ifname: z.string(),
    addr_info: z.array(z.looseObject({ local: z.string().optional(), prefixlen: z.int().optional() })).default([]),
  }),
);

/**
 * The address of a load balancer may lie in a network that an interface of this host is in. Every host of the fleet has it, so none may answer when
 * its neighbours ask whose it is, nor say that it is its own. Elsewhere nobody asks, and nothing is changed. IPv6 asks for addresses of the interface.
 */
export async function arpRequirements(
  tools: KernelTools,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<readonly Requirement[]> {
  const ips = addresses.flatMap((text) => parseIp(text) ?? []).filter(({ family }) => family === "IPv4");
  if (ips.length === 0) return [];
  const { stdout } = await tools.run("ip", ["-j", "-4", "address", "show"], { signal });
  const found: Requirement[] = [];
  for (const { ifname, addr_info } of Addresses.parse(JSON.parse(stdout))) {
    const nets = addr_info.flatMap(({ local = "", prefixlen }) => {
      const ip = parseIp(local);
      return ip && prefixlen !== undefined && prefixlen < 32 ? prefixOf(ip, prefixlen) : [];
    });
    if (ifname === "lo" || !ips.some((ip) => nets.some((net) => contains(net, ip)))) continue;
    for (const [name, value] of ARP) {
      // A stricter value is somebody's wish.
      if ((await valueOf(tools, `${ifname}/${name}`, signal)) >= value || (await valueOf(tools, `all/${name}`, signal)) >= value) continue;
      found.push({
        name: `net/ipv4/conf/${ifname}/${name}`,
        value: String(value),
        why: `the address of a load balancer is in the network of ${ifname}, and belongs to every host`,
      });
    }
  }
  return found;
}

/** Answers only for addresses of the interface that is asked; asks with one of those. */
const ARP = [
  ["arp_ignore", 1],
  ["arp_announce", 2],
] as const;

async function valueOf(tools: KernelTools, setting: string, signal: AbortSignal): Promise<number> {
  const { stdout, exitCode } = await tools.run("cat", [`/proc/sys/net/ipv4/conf/${setting}`], { signal, accept: [1] });
  return exitCode === 0 ? Number(stdout.trim()) : Infinity;
}
