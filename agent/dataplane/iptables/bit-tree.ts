import { heightOf, membersOf, ordered, type Member, type Ordered, type Prefix, type Run, type Split, type TreeNode } from "./tree-node.ts";

/**
 * Numbers of a fixed width by their leading bits: a node whose members have few rules is a leaf, any other one branches at the first bits in which
 * its members differ. The shape follows from the members alone, however they came, and a change of one member touches its leaf and what is
 * split or joined by it. Knows nothing of rules; each node has the name of the chain that stands for it.
 */

export interface TreeOptions {
  /** Bits of a number. */
  readonly width: number;
  readonly root: string;
  readonly chainOf: (prefix: Prefix) => string;
  readonly shape?: TreeShape;
}

export interface TreeShape {
  /** Bits that a level looks at: a packet passes at most 2^stride rules there. */
  readonly stride: number;
  /** What a leaf may weigh, as long as it has more than one member. */
  readonly capacity: number;
  /** nf_tables follows 16 jumps, and some are needed before and after the tree. A leaf at this depth takes all that comes. */
  readonly maxDepth: number;
}

export const SHAPE: TreeShape = { stride: 2, capacity: 32, maxDepth: 9 };

export class BitTree<M extends Member> {
  readonly #options: TreeOptions;
  readonly #shape: TreeShape;
  readonly #root: TreeNode<M>;
  #dirty = new Map<string, TreeNode<M>>();
  #gone = new Set<string>();
  /** Leaves that are heavier than they should be, because they may not be deeper. */
  readonly #overfull = new Set<TreeNode<M>>();

  constructor(options: TreeOptions) {
    this.#options = options;
    this.#shape = options.shape ?? SHAPE;
    this.#root = { chain: options.root, prefix: { base: 0n, bits: 0 }, weight: 0, body: { members: new Map() } };
    this.#dirty.set(options.root, this.#root);
  }

  get isEmpty(): boolean {
    return "members" in this.#root.body && this.#root.body.members.size === 0;
  }

  get(value: bigint): M | undefined {
    return this.#leafOf(value)?.get(value);
  }

  /** A new member, or another one in the place of the one with the same value. */
  set(member: M): void {
    const { path, members } = this.#leafFor(member.value);
    const more = member.weight - (members.get(member.value)?.weight ?? 0);
    members.set(member.value, member);
    for (const node of path) node.weight += more;
    this.#settle(path);
  }

  /** Many new members at once, where there is none yet; no two of them have the same value. */
  fill(members: readonly M[]): void {
    if (!this.isEmpty) throw new Error("there are members already");
    this.#build(this.#root, { all: ordered(members), run: { from: 0, to: members.length } }, 0);
  }

  /** Another member with the value and the weight of one that is there: nobody's text changes. */
  exchange(member: M): void {
    this.#leafOf(member.value)?.set(member.value, member);
  }

  delete(value: bigint): void {
    const held = this.get(value);
    if (!held) return;
    const { path, members } = this.#leafFor(value);
    members.delete(value);
    for (const node of path) node.weight -= held.weight;
    if (members.size === 0 && path.length > 1) this.#cutOff(path);
    this.#settle(path);
  }

  /** Nodes whose text may have changed, and chains that stand for nothing any more, since it was asked last. */
  take(): { readonly dirty: ReadonlyMap<string, TreeNode<M>>; readonly gone: ReadonlySet<string> } {
    const taken = { dirty: this.#dirty, gone: this.#gone };
    this.#dirty = new Map();
    this.#gone = new Set();
    return taken;
  }

  #leafOf(value: bigint): Map<bigint, M> | undefined {
    let node = this.#root;
    while ("children" in node.body) {
      const child = node.body.children.get(this.#cut(value, node.body.bits));
      if (!child) return undefined;
      node = child;
    }
    return node.body.members;
  }

  /** From the root to the leaf of `value`, which is made where there is none. */
  #leafFor(value: bigint): { path: TreeNode<M>[]; members: Map<bigint, M> } {
    const path = [this.#root];
    let node = this.#root;
    while ("children" in node.body) {
      const { bits, children } = this.#splitFor(node, value, path.length - 1);
      const base = this.#cut(value, bits);
      let child = children.get(base);
      if (!child) {
        child = this.#nodeAt({ base, bits });
        children.set(base, child);
        this.#mark(node);
      }
      path.push(child);
      node = child;
    }
    this.#mark(node);
    return { path, members: node.body.members };
  }

  /** How `node` branches; earlier than before when `value` differs from all of its members in earlier bits. */
  #splitFor(node: TreeNode<M>, value: bigint, depth: number): Split<M> {
    if ("members" in node.body) throw new Error("a leaf does not branch");
    const split = node.body;
    const [some = 0n] = split.children.keys();
    const bits = this.#splitAt(value, some);
    if (bits >= split.bits) return split;
    const below = this.#nodeAt({ base: this.#cut(some, bits), bits });
    below.body = split;
    below.weight = node.weight;
    node.body = { bits, children: new Map([[below.prefix.base, below]]) };
    this.#mark(node);
    if (depth + 1 + heightOf(below) > this.#shape.maxDepth) this.#grow(below, depth + 1);
    return node.body;
  }

  /** After the weights along `path` have changed: what has become light enough is one leaf, what has become too heavy branches. */
  #settle(path: readonly TreeNode<M>[]): void {
    const light = path.findIndex((node) => "children" in node.body && node.weight <= this.#shape.capacity);
    const depth = light >= 0 ? light : path.length - 1;
    const node = path[depth];
    if (node && (light >= 0 || "members" in node.body)) this.#grow(node, depth);
  }

  /** Takes the empty leaf at the end of `path` out, and the branching above it where only one way is left. */
  #cutOff(path: TreeNode<M>[]): void {
    const leaf = path.pop();
    const above = path.at(-1);
    if (!leaf || !above || "members" in above.body) return;
    above.body.children.delete(leaf.prefix.base);
    this.#drop(leaf);
    this.#mark(above);
    const [only, second] = above.body.children.values();
    if (!only || second) return;
    above.body = only.body;
    this.#drop(only);
    // What was too deep to branch may do so now.
    if (this.#overfull.size > 0 || "members" in above.body) this.#grow(above, path.length - 1);
  }

  /** Gives `node` the shape that follows from its members. */
  #grow(node: TreeNode<M>, depth: number): void {
    if ("members" in node.body && !this.#isFull(node)) {
      this.#overfull.delete(node);
      return;
    }
    const all = ordered(membersOf(node));
    if ("children" in node.body) for (const child of node.body.children.values()) this.#dropAll(child);
    this.#build(node, { all, run: { from: 0, to: all.members.length } }, depth);
  }

  /** Of members in order, the first and the last one say what all between them have in common. */
  #build(node: TreeNode<M>, { all, run }: { readonly all: Ordered<M>; readonly run: Run }, depth: number): void {
    this.#mark(node);
    const { from, to } = run;
    node.weight = (all.weightBefore[to] ?? 0) - (all.weightBefore[from] ?? 0);
    const [first, last] = [all.members[from], all.members[to - 1]];
    const isFull = node.weight > this.#shape.capacity && to - from > 1;
    if (isFull && depth >= this.#shape.maxDepth) this.#overfull.add(node);
    else this.#overfull.delete(node);
    if (!first || !last || !isFull || depth >= this.#shape.maxDepth) {
      node.body = { members: new Map(all.members.slice(from, to).map((member) => [member.value, member])) };
      return;
    }
    const bits = this.#splitAt(first.value, last.value);
    const children = new Map<bigint, TreeNode<M>>();
    for (const { base, run: part } of this.#partsOf({ all, run }, bits)) {
      const child = this.#nodeAt({ base, bits });
      children.set(base, child);
      this.#build(child, { all, run: part }, depth + 1);
    }
    node.body = { bits, children };
  }

  /** Those in a row that agree in their leading bits: each part's end is looked for by halves, not member by member. */
  *#partsOf(
    { all: { members }, run }: { readonly all: Ordered<M>; readonly run: Run },
    bits: number,
  ): Generator<{ base: bigint; run: Run }> {
    const size = 1n << BigInt(this.#options.width - bits);
    for (let { from } = run; from < run.to;) {
      const base = this.#cut(members[from]?.value ?? 0n, bits);
      let [low, to] = [from + 1, run.to];
      while (low < to) {
        const middle = (low + to) >>> 1;
        if ((members[middle]?.value ?? 0n) < base + size) low = middle + 1;
        else to = middle;
      }
      yield { base, run: { from, to } };
      from = to;
    }
  }

  #isFull({ weight, body }: TreeNode<M>): boolean {
    return weight > this.#shape.capacity && "members" in body && body.members.size > 1;
  }

  #nodeAt(prefix: Prefix): TreeNode<M> {
    const node: TreeNode<M> = { chain: this.#options.chainOf(prefix), prefix, weight: 0, body: { members: new Map() } };
    this.#mark(node);
    return node;
  }

  #mark(node: TreeNode<M>): void {
    this.#dirty.set(node.chain, node);
    this.#gone.delete(node.chain);
  }

  #drop(node: TreeNode<M>): void {
    this.#dirty.delete(node.chain);
    this.#gone.add(node.chain);
    this.#overfull.delete(node);
  }

  #dropAll(node: TreeNode<M>): void {
    if ("children" in node.body) for (const child of node.body.children.values()) this.#dropAll(child);
    this.#drop(node);
  }

  /** Where two numbers part: as many bits as it takes to tell them apart, in whole strides. */
  #splitAt(a: bigint, b: bigint): number {
    const { width } = this.#options;
    const differing = (a ^ b).toString(2).length; // of 0 it is 1: the same number, which parts nowhere
    const common = a === b ? width - 1 : width - differing;
    return Math.min((Math.floor(common / this.#shape.stride) + 1) * this.#shape.stride, width);
  }

  #cut(value: bigint, bits: number): bigint {
    const rest = BigInt(this.#options.width - bits);
    return (value >> rest) << rest;
  }
}
