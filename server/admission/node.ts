import { isDeepStrictEqual } from "node:util";
import type { Cause } from "#proto/error.ts";
import { endpointPrefixFault, formatCidr, formatIp, overlaps, parseIp, type Cidr } from "#proto/ip.ts";
import { ADDRESS_CONFLICT, HOSTNAME_LABEL, internalIpsOf, type Node, type NodeCondition } from "#proto/node.ts";
import { fault } from "#proto/parse.ts";
import { prefixesOf, type NodeNetworks } from "./node-networks.ts";
import { dockerAdvice } from "./docker-pools.ts";
import { routedFaults } from "./routed-cidrs.ts";
import { refused } from "./refused.ts";
import { virtualAddressFault, type Ranges } from "./ranges.ts";

export interface NodeParts {
  readonly ranges: Ranges;
  readonly networks: NodeNetworks;
  /** The other Node that holds a claim. */
  readonly holder: (claim: string) => Promise<string | undefined>;
  /** The service (namespace/name) that has an address, canonical, as its load balancer's or an external one. */
  readonly serviceAt: (ip: string) => string | undefined;
  readonly serviceWithin: (cidr: Cidr) => { readonly ip: string; readonly service: string } | undefined;
  /** A host speaks for itself: of the networks behind it, it may draw only private ones to itself. An administrator may say more. */
  readonly onlyPrivateRoutes: boolean;
  /** ms since 1970. */
  readonly now: () => number;
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
export async function admitNode(
  previous: Node | undefined,
  asGiven: Node,
  parts: NodeParts,
  known: readonly Cause[],
): Promise<{ readonly node: Node; readonly warnings: string[] }> {
  const faults = [...known];
  const given = withPodCidr(previous, asGiven);
  // A Node that was fine stays fine; only what changes is looked at.
  const looks = changesAddresses(previous, given);
  const held = looks ? heldByServices(given, parts) : new Map<string, string>();
  const next = withoutHeld(given, held);
  if (looks) await checkAddresses(next, held, parts, faults);
  if (changesPrefixes(previous, next)) checkPrefixes(next, parts, faults);
  faults.push(...routedFaults(previous, next, parts));
  if (faults.length > 0) throw refused("Node", next, faults, known);
  // A label is shorter than a name may be.
  const hostname = next.metadata.name.length <= 63 && { [HOSTNAME_LABEL]: next.metadata.name };
  const labels = { ...hostname, ...next.metadata.labels };
  const conflict = looks ? conflictCondition(previous, held, parts.now()) : conditionOf(previous, ADDRESS_CONFLICT);
  const node = withOwnConditions(previous, { ...next, metadata: { ...next.metadata, labels } }, conflict);
  return { node, warnings: held.size > 0 && conflict ? [conflict.message ?? ""] : [] };
}

/** Its InternalIPs that services have, and which. A virtual address may well be on a device of the host, to draw its traffic there. */
function heldByServices(node: Node, { serviceAt }: NodeParts): Map<string, string> {
  const held = new Map<string, string>();
  for (const text of internalIpsOf(node)) {
    const ip = parseIp(text);
    const service = ip && serviceAt(formatIp(ip));
    if (service !== undefined) held.set(text, service);
  }
  return held;
}

/** The first stays, and is refused: it is the one by which others are to reach the host. */
function withoutHeld(node: Node, held: ReadonlyMap<string, string>): Node {
  if (held.size === 0) return node;
  const [first] = internalIpsOf(node);
  const addresses = node.status.addresses.filter(({ type, address }) => type !== "InternalIP" || address === first || !held.has(address));
  return { ...node, status: { ...node.status, addresses } };
}

async function checkAddresses(node: Node, held: ReadonlyMap<string, string>, parts: NodeParts, faults: Cause[]): Promise<void> {
  const { ranges, networks, holder } = parts;
  for (const [i, { type, address }] of node.status.addresses.entries()) {
    if (type !== "InternalIP") continue; // hosts behind one router share their ExternalIP
    const field = `status.addresses[${i}].address`;
    const virtual = virtualAddressFault(ranges, field, address);
    if (virtual) faults.push(virtual);
    const service = held.get(address);
    if (service !== undefined) faults.push(fault(field, `is already an address of the service ${service}`, { value: address }));
    const other = await holder(nodeAddressClaim(address));
    if (other !== undefined) faults.push(fault(field, `is already the address of the host ${other}`, { value: address }));
    const ip = parseIp(address);
    const within = ip && networks.holding(ip, node.metadata.name);
    if (within) faults.push(fault(field, `is in ${within.what}, which is behind the host ${within.node}`, { value: address }));
  }
}

/** podCIDR is the first of podCIDRs, as in Kubernetes, whichever of them was written. */
function withPodCidr(previous: Node | undefined, next: Node): Node {
  const { podCIDR, podCIDRs = [], ...spec } = next.spec;
  const [first] = podCIDRs;
  if (first !== undefined) return { ...next, spec: { ...next.spec, podCIDR: first } };
  if (podCIDR === undefined || podCIDR === "") return next;
  // The list was emptied, and what followed from it goes too.
  if (previous?.spec.podCIDR === podCIDR && previous.spec.podCIDRs?.[0] === podCIDR) return { ...next, spec: { ...spec, podCIDRs } };
  return { ...next, spec: { ...next.spec, podCIDRs: [podCIDR] } };
}

function checkPrefixes(node: Node, { ranges, networks, serviceWithin }: NodeParts, faults: Cause[]): void {
  for (const [i, { text, cidr }] of prefixesOf(node).entries()) {
    const refuse = (why: string): void => void faults.push(fault(`spec.podCIDRs[${i}]`, why, { value: text }));
    const unusable = endpointPrefixFault(cidr);
    if (unusable !== undefined) refuse(unusable);
    const family = ranges.of(cidr.family);
    if (family && overlaps(family.cidr, cidr)) refuse(`overlaps the range of virtual addresses (${family.text})`);
    const other = networks.overlapping(cidr, node.metadata.name);
    if (other) refuse(`overlaps ${other.what} of the host ${other.node}${dockerAdvice(node.metadata.name, cidr, { ranges, networks })}`);
    const found = serviceWithin(cidr);
    if (found) refuse(`holds ${found.ip}, an address of the service ${found.service}`);
  }
}

function conflictCondition(previous: Node | undefined, held: ReadonlyMap<string, string>, now: number): NodeCondition | undefined {
  if (held.size === 0) return undefined;
  const list = Array.from(held, ([address, service]) => `${address} (service ${service})`).join(", ");
  const message = `not counted among the addresses of this host, as services have them: ${list}`;
  const before = conditionOf(previous, ADDRESS_CONFLICT);
  const lastTransitionTime = before?.lastTransitionTime ?? `${new Date(now).toISOString().slice(0, 19)}Z`;
  return { type: ADDRESS_CONFLICT, status: "True", reason: "HeldByService", message, lastTransitionTime };
}

function conditionOf(node: Node | undefined, type: string): NodeCondition | undefined {
  return node?.status.conditions.find((condition) => condition.type === type);
}

/** Whether a host is Ready is for the server to say, from its heartbeats; and whose addresses are whose. */
function withOwnConditions(previous: Node | undefined, next: Node, conflict: NodeCondition | undefined): Node {
  const own = [conditionOf(previous, "Ready"), conflict].filter((condition) => condition !== undefined);
  const others = next.status.conditions.filter(({ type }) => type !== "Ready" && type !== ADDRESS_CONFLICT);
  return { ...next, status: { ...next.status, conditions: [...others, ...own] } };
}
