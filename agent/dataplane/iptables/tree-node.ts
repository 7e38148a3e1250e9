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

/** By value. */
export function sorted<M extends Member>(members: readonly M[]): readonly M[] {
  return members.toSorted((a, b) => (a.value < b.value ? -1 : 1));
}

export function weightOf(members: readonly Member[]): number {
  return members.reduce((sum, { weight }) => sum + weight, 0);
}

export function heightOf<M extends Member>(node: TreeNode<M>): number {
  return "members" in node.body ? 0 : 1 + Math.max(...[...node.body.children.values()].map(heightOf));
}
