import { parseCidr, type Cidr } from "#proto/ip.ts";
import type { HostTable } from "#agent/compile/table.ts";
import { isWithin } from "./names.ts";

/** Is it a virtual IP? Others are addresses of load balancers, and external IPs. Pure. */
export function isInRange(host: HostTable, address: string): boolean {
  return isWithin(rangesOf(host), address);
}

function rangesOf(host: HostTable): readonly Cidr[] {
  const known = RANGES.get(host);
  if (known) return known;
  const ranges = host.serviceCidrs.flatMap((text) => parseCidr(text) ?? []);
  RANGES.set(host, ranges);
  return ranges;
}

/** Read once for each table, and asked for each frontend. */
const RANGES = new WeakMap<HostTable, readonly Cidr[]>();
