import type { IpFamily } from "#proto/ip.ts";

/**
 * Where the flows take place: test/fleet with three hosts, of which h1 is the one whose data plane is asked. Rows name places; here they get the
 * address of each family. The kernel walk builds the same world (test/e2e/flow-world.ts).
 */

export const FAMILIES = ["IPv4", "IPv6"] as const;

/**
 * h1b: a second address of host 1. bridge: the address of host 1 at its containers' bridge. h1c1: container 1 of host 1. h1vm: a machine of host 1 on the
 * hosts' own network (virtual machine, macvlan), behind no host. out: a client that is no host.
 */
export type Machine = "h1" | "h1b" | "bridge" | "h1c1" | "h1c2" | "h1vm" | "h2" | "h2c1" | "h3" | "out";

const MACHINES: Record<Machine, Record<IpFamily, string>> = {
  h1: { IPv4: "172.30.0.1", IPv6: "fd30::1" },
  h1b: { IPv4: "172.30.200.1", IPv6: "fd30::c8:1" },
  bridge: { IPv4: "10.200.1.1", IPv6: "fd30:c:1::1" },
  h1c1: { IPv4: "10.200.1.11", IPv6: "fd30:c:1::b" },
  h1c2: { IPv4: "10.200.1.12", IPv6: "fd30:c:1::c" },
  h1vm: { IPv4: "172.30.0.4", IPv6: "fd30::4" },
  h2: { IPv4: "172.30.0.2", IPv6: "fd30::2" },
  h2c1: { IPv4: "10.200.2.11", IPv6: "fd30:c:2::b" },
  h3: { IPv4: "172.30.0.3", IPv6: "fd30::3" },
  out: { IPv4: "172.30.255.1", IPv6: "fd30::fffe" },
};

export function addressOf(machine: Machine, family: IpFamily): string {
  return MACHINES[machine][family];
}

export function isMachine(word: string): word is Machine {
  return Object.hasOwn(MACHINES, word);
}

/** The node that a machine is or belongs to: what an endpoint's nodeName says. */
export function nodeOf(machine: Machine): "h1" | "h2" | "h3" {
  if (machine === "out") throw new Error("out belongs to no node");
  return machine.startsWith("h2") ? "h2" : machine === "h3" ? "h3" : "h1";
}

export const ZONES = { h1: "zone-a", h2: "zone-a", h3: "zone-b" } as const;

/** Every address of host 1 but loopback. */
export const HOST_1_IPS: readonly string[] = (["h1", "h1b", "bridge"] as const).flatMap((name) => Object.values(MACHINES[name]));
/** What is behind host 1. */
export const LOCAL_CIDRS: Record<IpFamily, string> = { IPv4: "10.200.1.0/24", IPv6: "fd30:c:1::/64" };
/** Holds out and no other machine. */
export const OUT_CIDRS: Record<IpFamily, string> = { IPv4: "172.30.255.0/24", IPv6: "fd30::ff00/120" };
/** Holds h1, h1vm, h2 and h3, but neither h1b nor bridge nor out. */
export const NODE_CIDRS: Record<IpFamily, string> = { IPv4: "172.30.0.0/24", IPv6: "fd30::/120" };

/** Ranges of what services have: virtual IPs, addresses of load balancers, and external IPs, which belong to h3. */
export const RANGES = {
  vip: { IPv4: "10.96.0.0/16", IPv6: "fd00:96::/112" },
  lb: { IPv4: "198.18.0.0/16", IPv6: "fd00:18::/112" },
  ext: { IPv4: "198.19.0.0/16", IPv6: "fd00:19::/112" },
} as const satisfies Record<string, Record<IpFamily, string>>;

/** The n-th address of a range, up to 65,535. */
export function addressIn(range: keyof typeof RANGES, n: number, family: IpFamily): string {
  if (n < 1 || n > 65_535) throw new Error(`the range ${range} has no address ${n}`);
  const base = RANGES[range][family];
  if (family === "IPv4") return `${base.split(".").slice(0, 2).join(".")}.${n >> 8}.${n & 255}`;
  return `${base.slice(0, base.indexOf("/"))}${n.toString(16)}`;
}

export const LOOPBACK: Record<IpFamily, string> = { IPv4: "127.0.0.1", IPv6: "::1" };
