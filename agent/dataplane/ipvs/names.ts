import type { IpFamily } from "#proto/ip.ts";
import type { Protocol } from "#proto/meta.ts";

/** What of ours is called how in the kernel: chains, sets, the device, and the marks that packets carry for a moment. */

export const PREFIX = "FLV-";
export const DEVICE = "fairlead0";

/** Packets for an external IP are this host's own by this table, while they carry a mark of ours. */
export const ROUTE_TABLE = "9617";
export const PAST_PRIORITY = "9616";
export const RULE_PRIORITY = "9617";
/** Where every host has the rule of its main table. */
export const MAIN_PRIORITY = "32766";

export interface SetKind {
  readonly type: string;
  /** Its entries say which mark a packet gets. */
  readonly marks?: true;
}

/**
 * The sets of one family. Places are address and port that clients connect to. What a packet is to become is the mark of its entry, so that a frontend
 * goes from one state to the next in one step of the kernel.
 */
export const SETS = {
  PLACES: { type: "hash:ip,port", marks: true },
  /** Where connections from this host and its containers go another way. */
  "PLACES-IN": { type: "hash:ip,port", marks: true },
  /** Of places with source ranges: the sources that may connect. No entry, no mark, no translation. */
  RANGED: { type: "hash:ip,port,net", marks: true },
  "RANGED-IN": { type: "hash:ip,port,net", marks: true },
  /** Node ports, each with the prefixes in which the host's addresses count. */
  NODE: { type: "hash:net,port", marks: true },
  "NODE-IN": { type: "hash:net,port", marks: true },
  /** Ports of the host itself that load balancers ask (`healthCheckNodePort`), in the same prefixes. */
  HEALTH: { type: "hash:net,port" },
  /** Addresses that are services' alone: what is not declared there is refused. */
  VIPS: { type: "hash:net" },
  /** Addresses with source ranges: this host's own only while a packet has a mark of ours, which needs an entry of RANGED. */
  GUARDED: { type: "hash:ip" },
  /** Of all these, the ones that answer a ping. */
  PING: { type: "hash:ip" },
  EXTERNAL: { type: "hash:ip,port" },
  /** Every real server that the kernel holds for us. */
  BACKENDS: { type: "hash:ip,port" },
} as const satisfies Record<string, SetKind>;
export type SetName = keyof typeof SETS;
export const SET_NAMES = Object.keys(SETS) as readonly SetName[];

/** `FLV-4-PLACES` */
export function setWord(family: IpFamily, set: SetName): string {
  return `${PREFIX}${digitOf(family)}-${set}`;
}

export function digitOf(family: IpFamily): "4" | "6" {
  return family === "IPv4" ? "4" : "6";
}

/**
 * A mark that the first packet of a connection carries from mangle to the virtual server, and no longer. IPVS compares all of it. Ours have the nine
 * highest bits of MARK_BASE; bits 14 and 15 stay clear, because a kubelet on the same host drops and masquerades by them; ipvsadm prints marks above
 * 0x7fffffff as negative numbers.
 */
export const MARK_BASE = 0x0f80_0000;
export const MARK_MASK = 0xff80_0000;

export const MARKS = {
  /** Routed to the host itself. */
  external: MARK_BASE + 1,
  /** There is a virtual server with this address and port. */
  plain: MARK_BASE + 2,
  refuse: MARK_BASE + 3,
  drop: MARK_BASE + 4,
  /** Nobody ever carries it: with it the kernel is asked for schedulers. */
  trial: MARK_BASE + 5,
  /** From this host itself to an external IP, on its way to the virtual server. */
  sent: MARK_BASE + 6,
} as const;

const PROTOCOLS: readonly Protocol[] = ["TCP", "UDP", "SCTP"];
const FIRST_NUMBER = 16;
export const MAX_NUMBERS = 2 ** 19 - FIRST_NUMBER;

/** The n-th mark of virtual servers. It says the protocol, which a virtual server with a mark does not. */
export function serverMark(n: number, protocol: Protocol): number {
  const number = n + FIRST_NUMBER;
  return MARK_BASE + PROTOCOLS.indexOf(protocol) * 2 ** 21 + ((number >> 14) << 16) + (number & 0x3fff);
}

export interface ReadMark {
  readonly number: number;
  readonly protocol: Protocol;
}

/** undefined when it is no mark of a virtual server of ours. */
export function readMark(mark: number): ReadMark | undefined {
  const bits = mark - MARK_BASE;
  const protocol = PROTOCOLS[bits >> 21];
  if (bits < 0 || bits >= 2 ** 23 || protocol === undefined || (bits & 0xc000) !== 0) return undefined;
  const number = (((bits >> 16) & 31) << 14) + (bits & 0x3fff) - FIRST_NUMBER;
  return number < 0 ? undefined : { number, protocol };
}

export function markWord(mark: number): string {
  return `0x${mark.toString(16)}`;
}
