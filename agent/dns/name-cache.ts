import type { NameKey } from "./name.ts";

export interface CacheLimits {
  readonly names: number;
  readonly octets: number;
}

interface Kept<V> {
  readonly byKind: Map<number, V>;
  octets: number;
}

/** What a map entry and its objects take beside what they hold; measured roughly. */
const ENTRY_OCTETS = 250;

/**
 * Things made from a name's records, until the name changes: forgetting them costs the same however much is kept. Bounded; who is over the limit loses
 * what was made first, which is made again when somebody asks.
 */
export class NameCache<V> {
  readonly #limits: CacheLimits;
  readonly #names = new Map<NameKey, Kept<V>>();
  #octets = 0;

  constructor(limits: CacheLimits) {
    this.#limits = limits;
  }

  get(name: NameKey, kind: number): V | undefined {
    return this.#names.get(name)?.byKind.get(kind);
  }

  /** `octets`: what the value takes. */
  put(name: NameKey, kind: number, value: V, octets: number): void {
    const kept = this.#names.get(name) ?? { byKind: new Map<number, V>(), octets: 0 };
    if (kept.byKind.size === 0) this.#names.set(name, kept);
    if (!kept.byKind.has(kind)) {
      kept.octets += octets + ENTRY_OCTETS;
      this.#octets += octets + ENTRY_OCTETS;
    }
    kept.byKind.set(kind, value);
    for (const [oldest] of this.#names) {
      if (this.#names.size <= this.#limits.names && this.#octets <= this.#limits.octets) return;
      this.drop(oldest);
    }
  }

  drop(name: NameKey): void {
    const kept = this.#names.get(name);
    if (!kept) return;
    this.#names.delete(name);
    this.#octets -= kept.octets;
  }

  get size(): number {
    return this.#names.size;
  }

  get octets(): number {
    return this.#octets;
  }
}
