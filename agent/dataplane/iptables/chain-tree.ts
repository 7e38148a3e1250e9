import type { Frontend } from "#agent/compile/table.ts";
import { BitTree, type TreeShape } from "./bit-tree.ts";
import type { Where } from "./service-range.ts";
import type { Member, Prefix, TreeNode } from "./tree-node.ts";

/**
 * The chains of one tree, and their text: knows what the kernel holds and collects what must be written. The text of rules is made where it is needed
 * and not held: it would be most of the memory.
 */

/** Rules for what is at one address, or at one node port. Words that are not fit for the kernel have been refused by then. */
export interface PlaceRules {
  /** How many rules `leaf` has. */
  readonly weight: number;
  readonly leaf: () => readonly string[];
  /** After the rules of all other places in the leaf: packets for these have been decided about by then. */
  readonly last: () => readonly string[];
  /** Chains that only rules in the leaf, or in one of these, lead to. */
  readonly own: ReadonlyMap<string, readonly string[]>;
}

/** What one restore does to our chains of one table. Only these chains are touched. */
export interface ChainEdits {
  /** Chains to be replaced whole, made where they are missing. */
  readonly write: ReadonlyMap<string, () => readonly string[]>;
  readonly remove: readonly string[];
}

export interface ChainTreeOptions {
  readonly root: string;
  /** Bits of a key. */
  readonly width: number;
  readonly keyOf: (frontend: Frontend) => bigint;
  readonly chainOf: (prefix: Prefix) => string;
  /** The words that match what has this prefix. */
  readonly matchOf: (prefix: Prefix) => string;
  /** Of which frontends it is. */
  readonly at: Where;
  /** Has this tree anything to say about one that is there? */
  readonly concerns: (frontend: Frontend) => boolean;
  /** Of the frontends with the same key, by protocol and port. */
  readonly rulesOf: (frontends: readonly Frontend[]) => PlaceRules;
  /** How many rules a frontend has in its leaf, where it has none elsewhere; undefined = `rulesOf` knows. Costs less. */
  readonly weightOf?: (frontend: Frontend) => number | undefined;
  /** The root begins and ends with these. */
  readonly first?: readonly string[];
  readonly last?: readonly string[];
  /** always: the root is there also when nothing is in the tree. */
  readonly presence: "always" | "while-needed";
  readonly shape?: TreeShape | undefined;
}

interface Place extends Member {
  /** By protocol and port. */
  readonly frontends: readonly Frontend[];
}

export class ChainTree {
  readonly #options: ChainTreeOptions;
  readonly #tree: BitTree<Place>;
  readonly #own = new Map<string, readonly string[] | undefined>();

  constructor(options: ChainTreeOptions) {
    this.#options = options;
    const { width, root, chainOf, shape } = options;
    this.#tree = new BitTree({ width, root, chainOf, ...(shape && { shape }) });
  }

  get root(): string {
    return this.#options.root;
  }

  /** Does the root chain exist? */
  get isThere(): boolean {
    return this.#options.presence === "always" || !this.#tree.isEmpty;
  }

  get at(): Where {
    return this.#options.at;
  }

  /** Of one that is where this tree is. */
  concerns(frontend: Frontend): boolean {
    return this.#options.concerns(frontend);
  }

  put(frontend: Frontend): void {
    const value = this.#options.keyOf(frontend);
    const held = this.#tree.get(value);
    this.#replace(value, held, withFrontend(held?.frontends ?? [], frontend));
  }

  /** The same for many, which costs less where nothing is in the tree. */
  putAll(frontends: readonly Frontend[]): void {
    if (frontends.length < 2 || !this.#tree.isEmpty) for (const frontend of frontends) this.put(frontend);
    else {
      const places: Place[] = [];
      for (const { value, frontends: all } of this.#byKey(frontends)) places.push(this.#placeOf(value, all));
      this.#tree.fill(places);
    }
  }

  /** Nothing when the place belongs to another service by now. */
  remove(frontend: Frontend): void {
    const value = this.#options.keyOf(frontend);
    const held = this.#tree.get(value);
    const port = portOf(frontend);
    if (!held?.frontends.some((one) => portOf(one) === port && one.id === frontend.id)) return;
    this.#replace(
      value,
      held,
      held.frontends.filter((one) => portOf(one) !== port),
    );
  }

  /** What must be written so that the kernel holds what was put; from then on it counts as held. Sorted. */
  takeEdits(): ChainEdits {
    const { dirty, gone } = this.#tree.take();
    const write = new Map<string, () => readonly string[]>();
    const remove = [...gone];
    const { first = [], last = [] } = this.#options;
    for (const [chain, node] of [...dirty].toSorted(byName)) {
      if (chain !== this.root) write.set(chain, () => this.#textOf(node, "-g"));
      else if (this.isThere) write.set(chain, () => [...first, ...this.#textOf(node, "-j"), ...last]);
      else remove.push(chain);
    }
    for (const [chain, rules] of [...this.#own].toSorted(byName)) {
      if (rules) write.set(chain, () => rules);
      else remove.push(chain);
    }
    this.#own.clear();
    return { write, remove: remove.toSorted() };
  }

  #replace(value: bigint, held: Place | undefined, frontends: readonly Frontend[]): void {
    const before = held ? this.#options.rulesOf(held.frontends) : NOTHING;
    const after = frontends.length > 0 ? this.#options.rulesOf(frontends) : NOTHING;
    for (const chain of before.own.keys()) if (!after.own.has(chain)) this.#own.set(chain, undefined);
    for (const [chain, rules] of after.own) if (!sameLines(before.own.get(chain), rules)) this.#own.set(chain, rules);
    const place: Place = { value, weight: after.weight, frontends };
    if (frontends.length === 0) this.#tree.delete(value);
    else if (!held || !sameLines(before.leaf(), after.leaf()) || !sameLines(before.last(), after.last())) this.#tree.set(place);
    else this.#tree.exchange(place);
  }

  /** In order. Most keys have one frontend. */
  #byKey(frontends: readonly Frontend[]): readonly { readonly value: bigint; frontends: readonly Frontend[] }[] {
    const keyed = frontends.map((frontend) => ({ value: this.#options.keyOf(frontend), frontends: [frontend] as readonly Frontend[] }));
    keyed.sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0));
    const places: typeof keyed = [];
    for (const next of keyed) {
      const last = places.at(-1);
      if (last?.value === next.value) for (const frontend of next.frontends) last.frontends = withFrontend(last.frontends, frontend);
      else places.push(next);
    }
    return places;
  }

  /** Where nothing was before. */
  #placeOf(value: bigint, frontends: readonly Frontend[]): Place {
    const [only] = frontends;
    const known = only && frontends.length === 1 ? this.#options.weightOf?.(only) : undefined;
    if (known !== undefined) return { value, weight: known, frontends };
    const { weight, own } = this.#options.rulesOf(frontends);
    for (const [chain, rules] of own) this.#own.set(chain, rules);
    return { value, weight, frontends };
  }

  /** Branches below the root are gone to, not jumped to: what finds nothing returns to the root at once. */
  #textOf({ body }: TreeNode<Place>, verb: "-j" | "-g"): string[] {
    if ("children" in body) {
      const children = [...body.children.values()].toSorted((a, b) => (a.prefix.base < b.prefix.base ? -1 : 1));
      return children.map(({ prefix, chain }) => `${this.#options.matchOf(prefix)} ${verb} ${chain}`);
    }
    const places = [...body.members.values()].toSorted((a, b) => (a.value < b.value ? -1 : 1));
    const rules = places.map(({ frontends }) => this.#options.rulesOf(frontends));
    return [...rules.flatMap(({ leaf }) => leaf()), ...rules.flatMap(({ last }) => last())];
  }
}

const NOTHING: PlaceRules = { weight: 0, leaf: () => [], last: () => [], own: new Map() };

/** One with the same protocol and port gives way. */
function withFrontend(frontends: readonly Frontend[], frontend: Frontend): readonly Frontend[] {
  if (frontends.length === 0) return [frontend];
  const port = portOf(frontend);
  const others = frontends.filter((one) => portOf(one) !== port);
  return [...others, frontend].toSorted((a, b) => (portOf(a) < portOf(b) ? -1 : 1));
}

function portOf({ protocol, port }: Frontend): string {
  return `${protocol} ${String(port).padStart(5, "0")}`;
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

function sameLines(a: readonly string[] | undefined, b: readonly string[]): boolean {
  return a?.length === b.length && a.every((line, i) => line === b[i]);
}
