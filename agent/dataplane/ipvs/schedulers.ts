import type { Choice } from "./legs.ts";

/** How a virtual server chooses among its real servers. Pure. */

const KNOWN = new Set(["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf"]);

export function isScheduler(name: string): boolean {
  return KNOWN.has(name);
}

/** `isThere`: has the kernel this one? What is not known or not there becomes what the driver does by itself. */
export function schedulerFor(asked: string | undefined, { backends }: Choice, isThere: (name: string) => boolean): string {
  if (asked !== undefined && isScheduler(asked) && isThere(asked)) return asked;
  const [first] = backends;
  return backends.every(({ weight }) => weight === first?.weight) ? "rr" : "wrr";
}

/** Hashes of clients whose server takes no new connections go to others. */
export function flagsOf(scheduler: string): string {
  return scheduler === "sh" || scheduler === "mh" ? `${scheduler}-fallback` : "";
}
