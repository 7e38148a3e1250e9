import type { Cause } from "#proto/error.ts";
import { contains, formatIp, parseIp } from "#proto/ip.ts";
import { internalIpsOf, type Node } from "#proto/node.ts";
import { fault } from "#proto/parse.ts";
import type { Workload } from "#proto/workload.ts";
import { prefixesOf } from "./node-networks.ts";
import { refused } from "./refused.ts";
import { virtualAddressFault, type Ranges } from "./ranges.ts";

export interface WorkloadParts {
  readonly ranges: Ranges;
  readonly node: (name: string) => Promise<Node | undefined>;
  /** A host speaks for itself: only its own addresses. An administrator may say more. */
  readonly onlyOwnAddresses: boolean;
}

/** The workload with its address filled in. Throws Invalid with every fault at once. */
export async function admitWorkload(
  previous: Workload | undefined,
  next: Workload,
  parts: WorkloadParts,
  known: readonly Cause[],
): Promise<Workload> {
  const faults = [...known];
  for (const [i, check] of next.spec.checks.entries())
    if (check.exec)
      faults.push(
        fault(`spec.checks[${i}].exec`, "commands are taken only from files on the host itself (workloads.d), never through the API", {
          reason: "FieldValueForbidden",
        }),
      );
  const node = await parts.node(next.spec.node);
  if (!node)
    faults.push(
      fault("spec.node", "there is no Node of this name; `fairlead get nodes` lists those that there are", { value: next.spec.node }),
    );
  const address = node && addressOf(next, node, faults);
  const before = previous?.spec;
  const unchanged =
    before !== undefined && before.address === address && before.node === next.spec.node && before.reach === next.spec.reach;
  // What only its own host sends to is that host's own affair: bridges of Docker have the same addresses on every host.
  const onlyOwnAddresses = parts.onlyOwnAddresses && next.spec.reach !== "Node";
  if (node && address !== undefined && !unchanged) checkAddress(address, node, { ...parts, onlyOwnAddresses }, faults);
  if (faults.length > 0 || address === undefined) throw refused("Workload", next, faults, known);
  return { ...next, spec: { ...next.spec, address } };
}

function addressOf(workload: Workload, node: Node, faults: Cause[]): string | undefined {
  const given = parseIp(workload.spec.address ?? "");
  if (given) return formatIp(given);
  const all = internalIpsOf(node);
  const own = all.find((address) => parseIp(address)?.family === "IPv4") ?? all[0];
  if (own === undefined)
    faults.push(
      fault("spec.address", `the Node ${node.metadata.name} has no address that it could default to; name one`, {
        reason: "FieldValueRequired",
      }),
    );
  return own;
}

function checkAddress(address: string, node: Node, { ranges, onlyOwnAddresses }: WorkloadParts, faults: Cause[]): void {
  const virtual = virtualAddressFault(ranges, "spec.address", address);
  if (virtual) faults.push(virtual);
  else if (onlyOwnAddresses && !isOwn(address, node)) {
    const own = [...internalIpsOf(node), ...(node.spec.podCIDRs ?? [])].join(", ");
    faults.push(fault("spec.address", `is not an address of the host ${node.metadata.name} (${own})`, { value: address }));
  }
}

function isOwn(address: string, node: Node): boolean {
  const ip = parseIp(address);
  if (!ip) return false;
  if (prefixesOf(node).some(({ cidr }) => contains(cidr, ip))) return true;
  return internalIpsOf(node).some((text) => {
    const own = parseIp(text);
    return own?.family === ip.family && own.value === ip.value;
  });
}
