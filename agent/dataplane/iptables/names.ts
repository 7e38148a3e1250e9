import { createHash } from "node:crypto";
import { formatCidr, formatIp, isIpv4, parseCidr, parseIp, type Ip } from "#proto/ip.ts";
import { AppError } from "#proto/error.ts";
import type { Protocol } from "#proto/meta.ts";
import type { Backend, Frontend } from "#agent/compile/table.ts";
import type { Prefix } from "./tree-node.ts";
import type { Words } from "./words.ts";

/**
 * Every word that goes into text for the kernel passes here: addresses are parsed and written anew, numbers must be in range, names must be of
 * our alphabet. What the server checked long ago may come from a disk that somebody else wrote.
 */

/** What iptables allows. */
const MAX_CHAIN_NAME = 28;

/**
 * `FL-10.96.1.0/28`, `FL-EXT-203.0.113.0/28`: says what it holds. A prefix of IPv6 that is too long for a name becomes 60 bits of its hash: two
 * of 10,000 are alike once in ten billion fleets; the rule that leads to the chain says which prefix it is.
 */
export function addressChain(words: Words, tag: string, { base, bits }: Prefix): string {
  const prefix = formatCidr({ family: words.family, base, prefix: bits });
  return fitting(`${words.prefix}${tag}${prefix}`, () => `${words.prefix}${tag}~${digest(prefix)}/${bits}`);
}

/** `10.96.1.0/28`; the family's own width has none, as iptables prints it after --ctorigdst. */
export function prefixWord(words: Words, { base, bits }: Prefix): string {
  return formatCidr({ family: words.family, base, prefix: bits });
}

/** Which of the four chains that a frontend may have: by its place alone, for sources that may connect, for inside, and for outside. */
export type OwnChain = "entry" | "allowed" | "inside" | "outside";

/** `FL-TCP-10.96.0.10-80` is where a frontend is entered; `FL-TCA-…`, `FL-TCI-…` and `FL-TCO-…` go on from there. At most 28 characters. */
export function ownChain(words: Words, frontend: Frontend, which: OwnChain): string {
  const { protocol, address, port } = frontend;
  const short = PROTOCOLS[protocol].short;
  const word = which === "entry" ? short : `${short.slice(0, 2)}${which[0]?.toUpperCase() ?? ""}`;
  const place = address === "" ? "node" : ipWord(address);
  const name = (of: string): string => `${words.prefix}${word}-${of}-${portWord(port)}`;
  return fitting(name(place), () => name(`~${digest(place)}`));
}

/** The list in which xt_recent remembers the clients of one endpoint; it goes when the last rule that names it does. */
export function affinityList(words: Words, { protocol, address, port }: Frontend, backend: Backend): string {
  const place = `${PROTOCOLS[protocol].short}-${address === "" ? "node" : ipWord(address)}-${portWord(port)}`;
  return `${words.list}-${place}-${ipWord(backend.address)}-${portWord(backend.port)}`;
}

/** Node ports in one order: two bits for the protocol, sixteen for the number. */
export const PORT_KEY_BITS = 18;

export function portKey({ protocol, port }: Frontend): bigint {
  return (BigInt(PORT_PROTOCOLS.indexOf(protocol)) << 16n) | BigInt(portWord(port));
}

/** `FL-NODE-TCP-30720:30735`, or `FL-NODE-TCP` for all of a protocol. */
export function portChain(words: Words, tag: string, prefix: Prefix): string {
  const { protocol, ports } = portRange(prefix);
  return `${words.prefix}${tag}${PROTOCOLS[protocol].short}${ports === undefined ? "" : `-${ports}`}`;
}

/** What a branch of the ports is about; `ports` undefined = all of the protocol. */
export function portRange({ base, bits }: Prefix): { readonly protocol: Protocol; readonly ports: string | undefined } {
  const protocol = PORT_PROTOCOLS[Number(base >> 16n)] ?? "TCP";
  const first = Number(base & 0xffffn);
  const last = first + 2 ** (PORT_KEY_BITS - bits) - 1;
  if (bits <= 2) return { protocol, ports: undefined };
  return { protocol, ports: first === last ? String(first) : `${first}:${last}` };
}

const PORT_PROTOCOLS: readonly Protocol[] = ["TCP", "UDP", "SCTP"];

const PROTOCOLS: Record<Protocol, { readonly word: string; readonly short: string }> = {
  TCP: { word: "tcp", short: "TCP" },
  UDP: { word: "udp", short: "UDP" },
  SCTP: { word: "sctp", short: "SCT" },
};

export function protocolWord(protocol: Protocol): string {
  return PROTOCOLS[protocol].word;
}

export function addressKey(address: string): bigint {
  return ipOf(address).value;
}

export function ipWord(text: string): string {
  return isIpv4(text) ? text : read(text).word;
}

/** `10.96.0.10/32`: as iptables prints a single address after -s and -d. */
export function hostWord(words: Words, text: string): string {
  return `${ipWord(text)}/${words.width}`;
}

export function cidrWord(text: string): string {
  const cidr = parseCidr(text);
  if (!cidr) throw unfit("prefix", text);
  return formatCidr(cidr);
}

/** Those of one family, canonical. */
export function cidrWords(words: Words, texts: readonly string[]): readonly string[] {
  return texts.map(cidrWord).filter((text) => parseCidr(text)?.family === words.family);
}

export function portWord(port: number): string {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw unfit("port", String(port));
  return String(port);
}

export function secondsWord(seconds: number): string {
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 86_400) throw unfit("affinity timeout", String(seconds));
  return String(seconds);
}

/** `namespace/name:port`; for a comment, where a wrong character would be a way out of the quotes. */
export function commentWord(text: string): string {
  if (!/^[a-z0-9][a-z0-9./:-]{0,254}$/.test(text)) throw unfit("service id", text);
  return text;
}

/** Refuses what could not be written, before a tool has been given anything: the rules are made while it already reads. */
export function checkWords({ id, address, protocol, port, backends, outside, sourceRanges, affinitySeconds }: Frontend): void {
  commentWord(id);
  if (!Object.hasOwn(PROTOCOLS, protocol)) throw unfit("protocol", protocol);
  portWord(port);
  if (address !== "") ipWord(address);
  for (const backend of backends) checkBackend(backend);
  for (const backend of outside?.backends ?? []) checkBackend(backend);
  for (const range of sourceRanges ?? []) cidrWord(range);
  if (affinitySeconds !== undefined) secondsWord(affinitySeconds);
}

function checkBackend({ address, port, weight }: Backend): void {
  ipWord(address);
  portWord(port);
  if (!Number.isInteger(weight) || weight < 1) throw unfit("weight", String(weight));
}

function fitting(name: string, shorter: () => string): string {
  return name.length <= MAX_CHAIN_NAME ? name : shorter();
}

function digest(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  return BigInt(`0x${hex.slice(0, 15)}`)
    .toString(32)
    .padStart(12, "0");
}

/** Refused when it is none. */
export function ipOf(text: string): Ip {
  return text.includes(":") ? read(text).ip : (parseIp(text) ?? read(text).ip);
}

function read(text: string): ReadAddress {
  const known = READ.get(text);
  if (known) return known;
  const ip = parseIp(text);
  if (!ip) throw unfit("address", text);
  const read = { ip, word: formatIp(ip) };
  if (READ.size >= MAX_READ) READ.clear();
  READ.set(text, read);
  return read;
}

interface ReadAddress {
  readonly ip: Ip;
  readonly word: string;
}

/** The rules of one service name the same few addresses over and over, and to read one of IPv6 takes long. */
const READ = new Map<string, ReadAddress>();
const MAX_READ = 4_096;

function unfit(what: string, text: string): AppError {
  return new AppError(
    "KernelRejected",
    `${JSON.stringify(text.slice(0, 80))} is no ${what}: it will not be written into the kernel's rules`,
    {
      hint: "the state on this host's disk or the server's is damaged; the rules that were there stay",
    },
  );
}
