import { formatCidr, formatIp, parseCidr, parseIp, prefixOf, type IpFamily } from "#proto/ip.ts";
import { AppError } from "#proto/error.ts";
import type { Protocol } from "#proto/meta.ts";
import type { Backend, Frontend } from "#agent/compile/table.ts";

/**
 * Every word that goes into text for the kernel passes here: addresses are parsed and written anew, numbers must be in range, names must be of
 * our alphabet. What the server checked long ago may come from a disk that somebody else wrote.
 */

export const PREFIX = "FL-";

/** nat: the root of the tree of virtual IPs with endpoints. */
export const SERVICES = "FL-SERVICES";
/** filter: the root of the tree of those without. */
export const REJECTS = "FL-REJECTS";
export const POSTROUTING = "FL-POSTROUTING";
export const FORWARD = "FL-FORWARD";
/** Both tables: nothing jumps there; its one rule names a list of xt_recent that says which of our writes the kernel holds. */
export const CANARY = "FL-CANARY";

/** How many leading bits each level of the tree looks at: 16 branches a level, 16 addresses a leaf. */
export function treeLevels(serviceCidrs: readonly string[]): readonly number[] {
  const prefixes = serviceCidrs.flatMap((text) => parseCidr(text)?.prefix ?? []);
  const widest = Math.min(...prefixes, 28);
  return [4, 8, 12, 16, 20, 24, 28].filter((bits) => bits > widest);
}

/** `FL-10.96.1.0/28`: says what it holds, and is at most 21 of the 28 characters that iptables allows. */
export function branchChain(address: string, bits: number): { readonly chain: string; readonly prefix: string } {
  const prefix = formatCidr(prefixOf(parsed(address), bits));
  return { chain: `${PREFIX}${prefix}`, prefix };
}

/** `FL-TCP-10.96.0.10-80`: the chain of one frontend, at most 28 characters. */
export function ownChain({ protocol, address, port }: Frontend): string {
  return `${PREFIX}${PROTOCOLS[protocol].short}-${ipWord(address)}-${portWord(port)}`;
}

/** The list in which xt_recent remembers the clients of one endpoint; it goes when the last rule that names it does. */
export function affinityList(frontend: Frontend, backend: Backend): string {
  return `${ownChain(frontend)}-${ipWord(backend.address)}-${portWord(backend.port)}`;
}

const PROTOCOLS: Record<Protocol, { readonly word: string; readonly short: string }> = {
  TCP: { word: "tcp", short: "TCP" },
  UDP: { word: "udp", short: "UDP" },
  SCTP: { word: "sctp", short: "SCT" },
};

export function protocolWord(protocol: Protocol): string {
  return PROTOCOLS[protocol].word;
}

export function ipWord(text: string): string {
  return formatIp(parsed(text));
}

export function cidrWord(text: string): string {
  const cidr = parseCidr(text);
  if (!cidr) throw unfit("prefix", text);
  return formatCidr(cidr);
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

export function familyOfCidr(text: string): IpFamily | undefined {
  return parseCidr(text)?.family;
}

function parsed(text: string) {
  const ip = parseIp(text);
  if (!ip) throw unfit("address", text);
  return ip;
}

function unfit(what: string, text: string): AppError {
  return new AppError(
    "KernelRejected",
    `${JSON.stringify(text.slice(0, 80))} is no ${what}: it will not be written into the kernel's rules`,
    {
      hint: "the state on this host's disk or the server's is damaged; the rules that were there stay",
    },
  );
}
