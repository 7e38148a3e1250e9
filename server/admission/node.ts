import { isDeepStrictEqual } from "node:util";
import type { Cause } from "#proto/error.ts";
import { endpointPrefixFault, formatCidr, formatIp, overlaps, parseIp } from "#proto/ip.ts";
import { HOSTNAME_LABEL, internalIpsOf, type Node } from "#proto/node.ts";
import { fault, invalid } from "#proto/parse.ts";
import { prefixesOf, type NodeNetworks } from "./node-networks.ts";
import { virtualAddressFault, type Ranges } from "./ranges.ts";

export interface NodeParts {
  readonly ranges: Ranges;
  readonly networks: NodeNetworks;
  /** The other Node that holds a claim. */
  readonly holder: (claim: string) => Promise<string | undefined>;
}

export function nodeAddressClaim(ip: string): string {
  const parsed = parseIp(ip);
  return `node-address/${parsed ? formatIp(parsed) : ip}`;
}

export function nodeClaims(node: Node): string[] {
  return [
    ...new Set([...internalIpsOf(node).map(nodeAddressClaim), ...prefixesOf(node).map(({ cidr }) => `pod-cidr/${formatCidr(cidr)}`)]),
  ];
}

/** Overlapping prefixes are no claims that the store could tell: whoever changes networks looks and writes in this turn. */
export const NETWORKS_TURN = "networks of hosts";

export function changesNetworks(previous: Node | undefined, next: Node): boolean {
  return changesAddresses(previous, next) || changesPrefixes(previous, next);
}

function changesAddresses(previous: Node | undefined, next: Node): boolean {
  return !isDeepStrictEqual(previous?.status.addresses, next.status.addresses);
}

function changesPrefixes(previous: Node | undefined, next: Node): boolean {
  return !isDeepStrictEqual(previous?.spec.podCIDRs, next.spec.podCIDRs);
}

/** Addresses of its own, and prefixes that nobody else has. Throws Invalid with every fault at once. */
export async function admitNode(previous: Node | undefined, next: Node, parts: NodeParts): Promise<Node> {
  const faults: Cause[] = [];
  // A Node that was fine stays fine; only what changes is looked at.
  if (changesAddresses(previous, next)) await checkAddresses(next, parts, faults);
  if (changesPrefixes(previous, next)) checkPrefixes(next, parts, faults);
  if (faults.length > 0) throw invalid("Node", next.metadata.name, faults);
  // A label is shorter than a name may be.
  const hostname = next.metadata.name.length <= 63 && { [HOSTNAME_LABEL]: next.metadata.name };
  const labels = { ...hostname, ...next.metadata.labels };
  return withOwnReadiness(previous, { ...next, metadata: { ...next.metadata, labels } });
}

async function checkAddresses(node: Node, { ranges, networks, holder }: NodeParts, faults: Cause[]): Promise<void> {
  for (const [i, { type, address }] of node.status.addresses.entries()) {
    if (type !== "InternalIP") continue; // hosts behind one router share their ExternalIP
    const field = `status.addresses[${i}].address`;
    const virtual = virtualAddressFault(ranges, field, address);
    if (virtual) faults.push(virtual);
    const other = await holder(nodeAddressClaim(address));
    if (other !== undefined) faults.push(fault(field, `is already the address of the host ${other}`, { value: address }));
    const ip = parseIp(address);
    const within = ip && networks.holding(ip, node.metadata.name);
    if (within) faults.push(fault(field, `is in ${within.what}, which is behind the host ${within.node}`, { value: address }));
  }
}

function checkPrefixes(node: Node, { ranges, networks }: NodeParts, faults: Cause[]): void {
  for (const [i, { text, cidr }] of prefixesOf(node).entries()) {
    const refuse = (why: string): void => void faults.push(fault(`spec.podCIDRs[${i}]`, why, { value: text }));
    const unusable = endpointPrefixFault(cidr);
    if (unusable !== undefined) refuse(unusable);
    const family = ranges.of(cidr.family);
    if (family && overlaps(family.cidr, cidr)) refuse(`overlaps the range of virtual addresses (${family.text})`);
    const other = networks.overlapping(cidr, node.metadata.name);
    if (other) refuse(`overlaps ${other.what} of the host ${other.node}`);
  }
}

/** Whether a host is Ready is for the server to say, from its heartbeats. */
function withOwnReadiness(previous: Node | undefined, next: Node): Node {
  const ready = previous?.status.conditions.filter(({ type }) => type === "Ready") ?? [];
  const others = next.status.conditions.filter(({ type }) => type !== "Ready");
  return { ...next, status: { ...next.status, conditions: [...others, ...ready] } };
}
