import { RCODE, RCODE_MASK } from "./protocol.ts";
import type { ReplyParts } from "./read-reply.ts";

/** A reply without its OPT record, which is between two neighbours only. */
export interface StoredReply {
  readonly wire: Buffer;
  readonly parts: ReplyParts;
  readonly storedMs: number;
  readonly freshUntilMs: number;
}

export interface CacheLimits {
  readonly entries: number;
  readonly octets: number;
}

export const CACHE_LIMITS: CacheLimits = { entries: 10_000, octets: 16 * 2 ** 20 };
/** How long a reply is better than none (RFC 8767), and what is then said of its life. */
export const STALE_MS = 3_600_000;
export const STALE_TTL_SECONDS = 30;
/** The key, the entry and its numbers, roughly. */
const OVERHEAD_OCTETS = 300;
const OCTETS_PER_TTL = 8;

export function storedReply(reply: Buffer, parts: ReplyParts, nowMs: number): StoredReply {
  return { wire: reply.subarray(0, parts.end), parts, storedMs: nowMs, freshUntilMs: nowMs + parts.keepSeconds * 1000 };
}

/** Replies of upstreams by what was asked. Who was not asked for longest goes first, when there are too many or they take too much. */
export class ReplyCache {
  readonly #limits: CacheLimits;
  readonly #entries = new Map<string, StoredReply>();
  #octets = 0;

  constructor(limits: CacheLimits = CACHE_LIMITS) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get octets(): number {
    return this.#octets;
  }

  /** Fresh or stale: see `freshUntilMs`. */
  find(key: string, nowMs: number): StoredReply | undefined {
    const found = this.#entries.get(key);
    if (!found) return undefined;
    this.#entries.delete(key);
    if (nowMs >= found.freshUntilMs + (isFailure(found.parts) ? 0 : STALE_MS)) {
      this.#octets -= octetsOf(key, found);
      return undefined;
    }
    this.#entries.set(key, found); // now the youngest
    return found;
  }

  put(key: string, { wire, ...rest }: StoredReply): void {
    const before = this.#entries.get(key);
    if (before && isFailure(rest.parts) && !isFailure(before.parts)) return; // stale is better than failed
    this.#drop(key, before);
    // A slice would keep all of what it was cut from.
    const stored = { wire: wire.buffer.byteLength > 2 * wire.length ? ownCopy(wire) : wire, ...rest };
    this.#entries.set(key, stored);
    this.#octets += octetsOf(key, stored);
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= this.#limits.entries && this.#octets <= this.#limits.octets) break;
      this.#drop(oldest, entry);
    }
  }

  clear(): void {
    this.#entries.clear();
    this.#octets = 0;
  }

  #drop(key: string, entry: StoredReply | undefined): void {
    if (!entry || !this.#entries.delete(key)) return;
    this.#octets -= octetsOf(key, entry);
  }
}

export function isFailure({ flags }: ReplyParts): boolean {
  const rcode = flags & RCODE_MASK;
  return rcode === RCODE.SERVFAIL || rcode === RCODE.REFUSED;
}

function octetsOf(key: string, { wire, parts }: StoredReply): number {
  return wire.length + key.length + parts.ttlAts.length * OCTETS_PER_TTL + OVERHEAD_OCTETS;
}

function ownCopy(wire: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(wire.length);
  wire.copy(copy);
  return copy;
}
