import type { Choice } from "./legs.ts";

/** How a virtual server chooses among its real servers. Pure. */

const KNOWN = new Set(["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf"]);
/** They choose by the client's address alone (without mh-port and sh-port). The better one first: mh (Linux 4.18) moves few clients when endpoints change. */
export const HASHES = ["mh", "sh"] as const;

export function isScheduler(name: string): boolean {
  return KNOWN.has(name);
}

/** `isThere`: has the kernel this one? What is not known or not there becomes what the driver does by itself. */
export function schedulerFor(asked: string | undefined, { backends }: Choice, isThere: (name: string) => boolean): string {
  if (asked !== undefined && isScheduler(asked) && isThere(asked)) return asked;
  const [first] = backends;
  return backends.every(({ weight }) => weight === first?.weight) ? "rr" : "wrr";
}

/** One that gives a client the same real server each time; undefined = the kernel has none. */
export function hashFor(asked: string | undefined, isThere: (name: string) => boolean): string | undefined {
  return HASHES.toSorted((one) => (one === asked ? -1 : 0)).find(isThere);
}

/** No scheduler knows this flag. It says that a virtual server is ours, where neither its address nor a mark does (docs/adr/0157). */
const OURS = "flag-3";

export function hasOurFlag({ flags }: { readonly flags: string }): boolean {
  return flags.split(",").includes(OURS);
}

/** Hashes of clients whose server takes no new connections go to others. `isNamed`: with the flag that says that it is ours. */
export function flagsOf(scheduler: string, { isNamed }: { readonly isNamed: boolean } = { isNamed: false }): string {
  return [...(scheduler === "sh" || scheduler === "mh" ? [`${scheduler}-fallback`] : []), ...(isNamed ? [OURS] : [])].join(",");
}

/** sh has this many places and fills them in turns, so many at once as the weight says: with weights of 100 the third of three would get half. */
const SH_PLACES = 256;

export function weightsFor(scheduler: string, reals: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  if (scheduler !== "sh") return reals;
  const divisor = [...reals.values()].reduce(greatestCommonDivisor, 0) || 1;
  const sum = [...reals.values()].reduce((total, weight) => total + weight, 0) / divisor;
  const factor = sum * 10 > SH_PLACES ? SH_PLACES / sum : 1; // fewer than ten turns are not even
  return new Map(Array.from(reals, ([real, weight]) => [real, weight === 0 ? 0 : Math.max(1, Math.round((weight / divisor) * factor))]));
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
