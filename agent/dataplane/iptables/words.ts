import type { IpFamily } from "#proto/ip.ts";

/** What differs between iptables and ip6tables, and between the two things that we write with them. */
export interface Words {
  readonly family: IpFamily;
  readonly program: "iptables" | "ip6tables";
  /** Of our chains. */
  readonly prefix: (typeof PREFIXES)[Writer];
  /** Of our lists of xt_recent, which are one name space for both families. */
  readonly list: string;
  /** Bits of an address. */
  readonly width: 32 | 128;
  readonly mask: string;
  readonly loopback: string;
  readonly unreachable: string;
  readonly echoRequest: string;
}

/** driver: the iptables data plane. passage: what lets the connections of the other data planes through (passage.ts), beside: those of this one, in the other iptables. routed: what lets the fleet's hosts come to containers (routed.ts). */
export type Writer = "driver" | "passage" | "beside" | "routed";
const PREFIXES = { driver: "FL-", passage: "FLP-", beside: "FLB-", routed: "FLR-" } as const;

export function wordsOf(family: IpFamily, of: Writer = "driver"): Words {
  const prefix = PREFIXES[of];
  return { ...FAMILIES[family], family, prefix, list: `${prefix.slice(0, -1)}${family === "IPv6" ? "6" : ""}` };
}

const FAMILIES = {
  IPv4: {
    program: "iptables",
    width: 32,
    mask: "255.255.255.255",
    loopback: "127.0.0.0/8",
    unreachable: "icmp-port-unreachable",
    echoRequest: "-p icmp -m icmp --icmp-type 8",
  },
  IPv6: {
    program: "ip6tables",
    width: 128,
    mask: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    loopback: "::1/128",
    unreachable: "icmp6-port-unreachable",
    echoRequest: "-p ipv6-icmp -m icmp6 --icmpv6-type 128",
  },
} as const;
