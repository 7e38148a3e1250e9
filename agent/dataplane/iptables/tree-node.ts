/** What a tree of leading bits (bit-tree.ts) is made of. */

/** The leading `bits` bits of `base`; the others are 0. */
export interface Prefix {
  readonly base: bigint;
  readonly bits: number;
}

export interface Member {
  readonly value: bigint;
  /** Rules that every packet for the same leaf may have to pass. */
  readonly weight: number;
}

export interface TreeNode<M extends Member> {
  readonly chain: string;
  readonly prefix: Prefix;
  weight: number;
  body: Leaf<M> | Split<M>;
}

export interface Leaf<M> {
  readonly members: Map<bigint, M>;
}

export interface Split<M extends Member> {
  /** Length of the children's prefixes; they agree in all bits but the last `stride` of it. */
  readonly bits: number;
  readonly children: Map<bigint, TreeNode<M>>;
}

export function membersOf<M extends Member>(node: TreeNode<M>): M[] {
  return "members" in node.body ? [...node.body.members.values()] : [...node.body.children.values()].flatMap(membersOf);
}

/** By value, and how much those before each one weigh together; the last number is the weight of all. */
export interface Ordered<M extends Member> {
  readonly members: readonly M[];
  readonly weightBefore: Float64Array;
}

/** Some of them in a row: from the one at `from` on, up to the one before `to`. */
export interface Run {
  readonly from: number;
  readonly to: number;
}

export function ordered<M extends Member>(unordered: readonly M[]): Ordered<M> {
  const members = unordered.toSorted((a, b) => (a.value < b.value ? -1 : 1));
  const weightBefore = new Float64Array(members.length + 1);
  let sum = 0;
  for (const [i, { weight }] of members.entries()) weightBefore[i + 1] = sum += weight;
  return { members, weightBefore };
}

export function heightOf<M extends Member>(node: TreeNode<M>): number {
  return "members" in node.body ? 0 : 1 + Math.max(...[...node.body.children.values()].map(heightOf));
}
