import { parentOf } from "./name.ts";
import type { NameKey } from "./name.ts";
import type { Said } from "./said.ts";

/** Who says something: a Service, a Namespace, the domain itself. */
export interface Source {
  readonly name: string;
  said: Said;
}

/** What is known of a name: who has records for it, and how many hold it to exist, of sources and of names directly below it. */
interface Held {
  readonly sources: readonly Source[];
  readonly holds: number;
}

/** There are five names for each Service. Most have one source and nothing below them, or no source at all, and take no object of their own. */
type Node = Source | number | Held;

const NOBODY: readonly Source[] = [];

/** Which names there are, and whose. A name of our zones holds the one above it, up to the apex; others (an endpoint's reverse name) stand alone. */
export class NameIndex {
  readonly #apexes: { has(key: NameKey): boolean };
  readonly #nodes = new Map<NameKey, Node>();

  constructor(apexes: { has(key: NameKey): boolean }) {
    this.#apexes = apexes;
  }

  get size(): number {
    return this.#nodes.size;
  }

  has(key: NameKey): boolean {
    return this.#nodes.has(key);
  }

  /** Who has records there. */
  sourcesOf(key: NameKey): readonly Source[] {
    return heldOf(this.#nodes.get(key)).sources;
  }

  add(key: NameKey, source: Source): void {
    const { sources, holds } = heldOf(this.#nodes.get(key));
    if (!sources.includes(source)) this.#put(key, { sources: sources.concat(source), holds });
  }

  remove(key: NameKey, source: Source): void {
    const { sources, holds } = heldOf(this.#nodes.get(key));
    this.#put(key, { sources: sources.filter((one) => one !== source), holds });
  }

  hold(key: NameKey): void {
    const { sources, holds } = heldOf(this.#nodes.get(key));
    this.#put(key, { sources, holds: holds + 1 });
  }

  release(key: NameKey): void {
    const { sources, holds } = heldOf(this.#nodes.get(key));
    if (holds > 0) this.#put(key, { sources, holds: holds - 1 });
  }

  #put(key: NameKey, held: Held): void {
    const was = this.#nodes.has(key);
    const is = held.sources.length + held.holds > 0;
    if (is) this.#nodes.set(key, nodeOf(held));
    else this.#nodes.delete(key);
    if (was === is) return;
    const parent = this.#parentInZone(key);
    if (parent === undefined) return;
    if (is) this.hold(parent);
    else this.release(parent);
  }

  /** What is between other names and the root is not ours to say. */
  #parentInZone(key: NameKey): NameKey | undefined {
    if (this.#apexes.has(key)) return undefined;
    const parent = parentOf(key);
    for (let name = parent; name !== undefined; name = parentOf(name)) if (this.#apexes.has(name)) return parent;
    return undefined;
  }
}

function heldOf(node: Node | undefined): Held {
  if (node === undefined || typeof node === "number") return { sources: NOBODY, holds: node ?? 0 };
  return "said" in node ? { sources: [node], holds: 0 } : node;
}

function nodeOf(held: Held): Node {
  const [first, second] = held.sources;
  if (!first) return held.holds;
  return second || held.holds > 0 ? held : first;
}
