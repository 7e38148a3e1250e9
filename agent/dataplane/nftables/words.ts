import type { IpFamily } from "#proto/ip.ts";
import { ipWord } from "../iptables/names.ts";

/** What differs between IPv4 and IPv6 in the language of nft, and the expressions that the rules are made of. */
export interface NftWords {
  readonly family: IpFamily;
  /** Of the table, and before `saddr` and `daddr`. */
  readonly ip: "ip" | "ip6";
  readonly address: "ipv4_addr" | "ipv6_addr";
  readonly loopback: string;
  readonly echoRequest: string;
  /** A client at a virtual address, as the maps of affinity know it: the expression, and what its type is declared with. */
  readonly client: Keyed;
  /** A client at a node port, whichever address of the host it uses. */
  readonly nodeClient: Keyed;
  /** A packet whose priority is kept for a moment. */
  readonly sender: Keyed;
}

export interface Keyed {
  readonly expression: string;
  readonly typeOf: string;
}

/** Name of the one table of each family; everything in it is ours. */
export const TABLE = "fairlead";

/** nft 1.0.6 cannot write a map from the packet path whose key is longer than 16 bytes: an address of IPv6 is remembered by 64 bits of its hash. */
const hashed = (expression: string, seed: number): string => `jhash ${expression} mod 4294967295 seed 0x${seed.toString(16)}`;
const HASH = "numgen random mod 2"; // any expression of 32 bits: nft crashes when it lists a map that was declared with jhash

const CLIENT_6 = `${hashed("ip6 saddr", 1)} . ${hashed("ip6 saddr", 2)}`;

const WORDS: Record<IpFamily, NftWords> = {
  IPv4: {
    family: "IPv4",
    ip: "ip",
    address: "ipv4_addr",
    loopback: "127.0.0.0/8",
    echoRequest: "icmp type echo-request",
    client: same("ip saddr . ip daddr . meta l4proto . th dport"),
    nodeClient: same("ip saddr . meta l4proto . th dport"),
    sender: same("ip saddr . th sport . meta l4proto"),
  },
  IPv6: {
    family: "IPv6",
    ip: "ip6",
    address: "ipv6_addr",
    loopback: "::1",
    echoRequest: "icmpv6 type echo-request",
    client: {
      expression: `${CLIENT_6} . ${hashed("ip6 daddr . meta l4proto", 3)} . th dport`,
      typeOf: `${HASH} . ${HASH} . ${HASH} . th dport`,
    },
    nodeClient: { expression: `${CLIENT_6} . meta l4proto . th dport`, typeOf: `${HASH} . ${HASH} . meta l4proto . th dport` },
    sender: { expression: `${hashed("ip6 saddr", 1)} . th sport . meta l4proto`, typeOf: `${HASH} . th sport . meta l4proto` },
  },
};

export function wordsOf(family: IpFamily): NftWords {
  return WORDS[family];
}

function same(expression: string): Keyed {
  return { expression, typeOf: expression };
}

/** An address as it may stand in text for the kernel. Of IPv4, which has one way to be written, nothing needs to be computed. */
export function addressWord(text: string): string {
  return CANONICAL_IPV4.test(text) ? text : ipWord(text);
}

const BYTE = String.raw`(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`;
const CANONICAL_IPV4 = new RegExp(String.raw`^${BYTE}(?:\.${BYTE}){3}$`);
