import type { Frontend, HostTable } from "#agent/compile/table.ts";
import { parseCidr, sizeOf, type Cidr, type IpFamily } from "#proto/ip.ts";
import { ipOf } from "./names.ts";

/** Is it a virtual IP? Others are addresses of load balancers, and external IPs. Pure. */
export function isInRange(host: HostTable, address: string): boolean {
  return isIn(rangesOf(host), address);
}

/** Where clients connect to it: at a virtual IP, at an address outside of the ranges, or at a port of the host's. */
export type Where = "range" | "outside" | "nodePort";

export function whereIn(host: HostTable): (frontend: Frontend) => Where {
  const ranges = rangesOf(host);
  return ({ address }) => (address === "" ? "nodePort" : isIn(ranges, address) ? "range" : "outside");
}

function isIn(ranges: Ranges, address: string): boolean {
  if (ranges.asked !== address) {
    ranges.answer = isWithin(ranges.spans, address);
    ranges.asked = address;
  }
  return ranges.answer;
}

function rangesOf(host: HostTable): Ranges {
  const known = RANGES.get(host);
  if (known) return known;
  const spans = host.serviceCidrs.flatMap((text) => parseCidr(text) ?? []).map(spanOf);
  const ranges: Ranges = { spans, asked: undefined, answer: false };
  RANGES.set(host, ranges);
  return ranges;
}

interface Ranges {
  readonly spans: readonly Span[];
  /** Each tree asks about the same address in a row. */
  asked: string | undefined;
  answer: boolean;
}

/** Read once for each table, and asked for each frontend. */
const RANGES = new WeakMap<HostTable, Ranges>();

/** The addresses of one prefix: to compare makes no new numbers, to mask does. */
interface Span {
  readonly family: IpFamily;
  readonly first: bigint;
  readonly last: bigint;
}

function spanOf(cidr: Cidr): Span {
  return { family: cidr.family, first: cidr.base, last: cidr.base + sizeOf(cidr) - 1n };
}

function isWithin(spans: readonly Span[], address: string): boolean {
  if (spans.length === 0) return false;
  const ip = ipOf(address);
  return spans.some(({ family, first, last }) => family === ip.family && first <= ip.value && ip.value <= last);
}
