import type { NameKey } from "./name.ts";

export interface CacheLimits {
  readonly names: number;
  readonly octets: number;
}

/** One of the things that are kept of a name, and the others. Nearly always there is one: a map of its own would take more than it holds. */
interface Kept<V> {
  readonly kind: number;
  value: V;
  octets: number;
  readonly next: Kept<V> | undefined;
}

/** What a map entry and its objects take beside what they hold; measured roughly. */
const ENTRY_OCTETS = 200;

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
    return find(this.#names.get(name), kind)?.value;
  }

  /** `octets`: what the value takes. */
  put(name: NameKey, kind: number, value: V, octets: number): void {
    const first = this.#names.get(name);
    const known = find(first, kind);
    const before = known?.octets ?? 0;
    const now = octets + ENTRY_OCTETS;
    if (known) Object.assign(known, { value, octets: now });
    else this.#names.set(name, { kind, value, octets: now, next: first });
    this.#octets += now - before;
    for (const [oldest] of this.#names) {
      if (this.#names.size <= this.#limits.names && this.#octets <= this.#limits.octets) return;
      this.drop(oldest);
    }
  }

  drop(name: NameKey): void {
    const first = this.#names.get(name);
    if (!first) return;
    this.#names.delete(name);
    for (let kept: Kept<V> | undefined = first; kept; kept = kept.next) this.#octets -= kept.octets;
  }

  get size(): number {
    return this.#names.size;
  }

  get octets(): number {
    return this.#octets;
  }
}

function find<V>(first: Kept<V> | undefined, kind: number): Kept<V> | undefined {
  let kept = first;
  while (kept && kept.kind !== kind) kept = kept.next;
  return kept;
}
