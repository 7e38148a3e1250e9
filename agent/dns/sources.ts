import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import type { Cidr } from "#proto/ip.ts";

const LOOPBACK = ["127.0.0.0/8", "::1/128"];
/** Multicast and broadcast: a forger's, whoever may ask. */
const MANY = ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"].flatMap((text) => parseCidr(text) ?? []);
const REMEMBERED = 4096;

/**
 * Who may ask. A resolver that answers everybody is a tool for attacks on others, so a stranger gets no answer at all, not even a refusal, which would
 * go to whomever the packet names as its sender.
 */
export class AllowedSources {
  readonly #own: readonly string[];
  #cidrs: readonly Cidr[] = [];
  readonly #known = new Map<string, boolean>();

  /** `own`: our own addresses, which questions from this host have as source. */
  constructor(own: readonly string[], cidrs: readonly string[]) {
    this.#own = own;
    this.replace(cidrs);
  }

  replace(cidrs: readonly string[]): void {
    const own = this.#own.map((address) => `${address}/${parseIp(address)?.family === "IPv6" ? 128 : 32}`);
    this.#cidrs = [...LOOPBACK, ...own, ...cidrs].flatMap((text) => parseCidr(text) ?? []);
    this.#known.clear();
  }

  allows(address: string): boolean {
    const known = this.#known.get(address);
    if (known !== undefined) return known;
    const ip = parseIp(address.replace(/%.*$/, "").replace(/^::ffff:(?=\d+\.)/, ""));
    const allowed = ip !== undefined && !MANY.some((cidr) => contains(cidr, ip)) && this.#cidrs.some((cidr) => contains(cidr, ip));
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    this.#known.set(address, allowed);
    return allowed;
  }
}
