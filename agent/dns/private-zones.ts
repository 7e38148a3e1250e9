import { keyOfName } from "./name.ts";
import type { NameKey } from "./name.ts";
import { TYPE } from "./protocol.ts";

const nibbles = (text: string): string => `${text.split("").reverse().join(".")}.ip6.arpa`;

/** Reverse zones of addresses that mean something else in every network (RFC 6303): questions about them that leave it are noise and a leak. */
const NAMES: readonly string[] = [
  "10.in-addr.arpa",
  ...Array.from({ length: 16 }, (_, i) => `${16 + i}.172.in-addr.arpa`),
  "168.192.in-addr.arpa",
  "0.in-addr.arpa",
  "127.in-addr.arpa",
  "254.169.in-addr.arpa",
  "2.0.192.in-addr.arpa",
  "100.51.198.in-addr.arpa",
  "113.0.203.in-addr.arpa",
  "255.255.255.255.in-addr.arpa",
  nibbles("0".repeat(32)),
  nibbles(`${"0".repeat(31)}1`),
  ...["fd", "fe8", "fe9", "fea", "feb", "20010db8"].map(nibbles),
];

const ZONES: ReadonlySet<NameKey> = new Set(NAMES.flatMap((name) => keyOfName(name) ?? []));
const ARPA = "\x04arpa\0";
/** What a resolver asks of top-level domains: one that validates and asks us would find everything below forged, if these were said not to exist. */
const OF_ZONES: ReadonlySet<number> = new Set([TYPE.NS, TYPE.SOA, TYPE.DS, TYPE.DNSKEY]);
const LOCAL = "\x05local\0";

/** Where in the name the zone starts whose names are asked of nobody outside; undefined = the name may be forwarded. */
export function keptInside(key: NameKey, labels: readonly number[], type: number): number | undefined {
  if (labels.length === 1) return OF_ZONES.has(type) ? undefined : key.length - 1; // as if the root itself said so
  const top = labels.at(-1);
  if (top === undefined) return undefined;
  if (key.endsWith(LOCAL)) return key.length - LOCAL.length === top ? top : undefined;
  if (!key.endsWith(ARPA)) return undefined;
  return labels.find((at) => ZONES.has(at === 0 ? key : key.slice(at)));
}
