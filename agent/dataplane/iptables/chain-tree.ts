import type { Frontend } from "#agent/compile/table.ts";
import { branchChain, ipWord } from "./names.ts";
import type { ChainEdits, FrontendRules } from "./render.ts";

/**
 * The chains of one table by address: root → /20 → /24 → /28, whose leaves hold the rules of at most 16 addresses. Knows what the kernel holds and
 * collects what must be written: a change costs its leaf, and the chains above it only when a branch comes or goes.
 */
export class ChainTree {
  readonly #root: string;
  readonly #last: string;
  readonly #levels: readonly number[];
  readonly #rulesOf: (frontend: Frontend) => FrontendRules;
  /** chain → its branches, chain below → the rule that leads there. */
  readonly #branches = new Map<string, Map<string, string>>();
  /** chain → its frontends, by address, protocol and port. */
  readonly #leaves = new Map<string, Map<string, Held>>();
  #dirty = new Set<string>();
  /** Chains of single frontends that are to be written (rules) or removed (undefined). */
  #own = new Map<string, readonly string[] | undefined>();

  /** `last` ends the root chain. */
  constructor(
    { root, last }: { readonly root: string; readonly last: string },
    levels: readonly number[],
    rulesOf: (frontend: Frontend) => FrontendRules,
  ) {
    this.#root = root;
    this.#last = last;
    this.#levels = levels;
    this.#rulesOf = rulesOf;
    this.#dirty.add(root);
  }

  put(frontend: Frontend): void {
    const rules = this.#rulesOf(frontend);
    const path = this.#pathTo(frontend.address);
    const leaf = this.#leafAt(path);
    const key = keyOf(frontend);
    const held = leaf.get(key);
    const before = held && this.#rulesOf(held.frontend);
    leaf.set(key, { frontend, inLeaf: rules.leaf.length, own: rules.own && { chain: rules.own.chain, size: rules.own.rules.length } });
    if (!before || !sameLines(before.leaf, rules.leaf)) this.#dirty.add(leafOf(path).chain);
    if (before?.own && before.own.chain !== rules.own?.chain) this.#own.set(before.own.chain, undefined);
    if (rules.own && !sameLines(before?.own?.rules, rules.own.rules)) this.#own.set(rules.own.chain, rules.own.rules);
  }

  /** Nothing when the address belongs to another service by now. */
  remove(frontend: Frontend): void {
    const path = this.#pathTo(frontend.address);
    const leaf = this.#leaves.get(leafOf(path).chain);
    const held = leaf?.get(keyOf(frontend));
    if (!leaf || held?.frontend.id !== frontend.id) return;
    leaf.delete(keyOf(frontend));
    this.#dirty.add(leafOf(path).chain);
    if (held.own) this.#own.set(held.own.chain, undefined);
    if (leaf.size === 0) this.#prune(path);
  }

  /** What must be written so that the kernel holds what was put; from then on it counts as held. Sorted. */
  takeEdits(): ChainEdits {
    const write = new Map<string, readonly string[]>();
    const remove: string[] = [];
    for (const chain of [...this.#dirty].toSorted()) {
      const rules = this.#rulesIn(chain);
      if (chain === this.#root) write.set(chain, [...rules, this.#last]);
      else if (rules.length > 0) write.set(chain, rules);
      else remove.push(chain);
    }
    for (const [chain, rules] of [...this.#own].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      if (rules) write.set(chain, rules);
      else remove.push(chain);
    }
    this.#dirty = new Set();
    this.#own = new Map();
    return { write, remove };
  }

  /** Every chain, and how many rules it has. */
  ruleCounts(): Map<string, number> {
    const counts = new Map([[this.#root, 0]]);
    for (const [chain, below] of this.#branches) counts.set(chain, below.size);
    for (const [chain, leaf] of this.#leaves) {
      let rules = 0;
      for (const { inLeaf, own } of leaf.values()) {
        rules += inLeaf;
        if (own) counts.set(own.chain, own.size);
      }
      counts.set(chain, rules);
    }
    counts.set(this.#root, (counts.get(this.#root) ?? 0) + 1);
    return counts;
  }

  #rulesIn(chain: string): readonly string[] {
    const below = this.#branches.get(chain);
    if (below) return [...below].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule);
    const leaf = this.#leaves.get(chain);
    return leaf ? [...leaf].toSorted(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, { frontend }]) => this.#rulesOf(frontend).leaf) : [];
  }

  #pathTo(address: string): Path {
    return [{ chain: this.#root, prefix: "" }, ...this.#levels.map((bits) => branchChain(address, bits))];
  }

  #leafAt(path: Path): Map<string, Held> {
    for (const [i, { chain, prefix }] of path.entries()) {
      const above = path[i - 1];
      if (!above) continue;
      const branches = this.#branches.get(above.chain) ?? new Map<string, string>();
      this.#branches.set(above.chain, branches);
      if (branches.has(chain)) continue;
      branches.set(chain, `-d ${prefix} -j ${chain}`);
      this.#dirty.add(above.chain);
    }
    const { chain } = leafOf(path);
    const leaf = this.#leaves.get(chain) ?? new Map<string, Held>();
    this.#leaves.set(chain, leaf);
    return leaf;
  }

  /** Takes the empty leaf out, and every branch that led nowhere else. */
  #prune(path: Path): void {
    this.#leaves.delete(leafOf(path).chain);
    for (let i = path.length - 1; i > 0; i--) {
      const [above, here] = [path[i - 1], path[i]];
      if (!above || !here) return;
      const branches = this.#branches.get(above.chain);
      branches?.delete(here.chain);
      this.#dirty.add(above.chain);
      if (branches && branches.size > 0) return;
      this.#branches.delete(above.chain);
    }
  }
}

/** The text of its rules is made anew where it is needed: of a leaf that is written, at most 16 addresses'. Held, it would be most of the tree. */
interface Held {
  readonly frontend: Frontend;
  /** How many rules it has in the leaf. */
  readonly inLeaf: number;
  readonly own: { readonly chain: string; readonly size: number } | undefined;
}

type Path = readonly { readonly chain: string; readonly prefix: string }[];

function leafOf(path: Path): { readonly chain: string } {
  const leaf = path.at(-1);
  if (!leaf) throw new Error("a path has at least its root");
  return leaf;
}

function keyOf({ address, protocol, port }: Frontend): string {
  return `${ipWord(address)} ${protocol} ${String(port).padStart(5, "0")}`;
}

function sameLines(a: readonly string[] | undefined, b: readonly string[]): boolean {
  return a?.length === b.length && a.every((line, i) => line === b[i]);
}
