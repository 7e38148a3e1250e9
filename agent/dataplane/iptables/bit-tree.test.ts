import fc from "fast-check";
import { expect, test } from "vitest";
import { BitTree, type TreeShape } from "./bit-tree.ts";
import type { Member, TreeNode } from "./tree-node.ts";

const SMALL: TreeShape = { stride: 2, capacity: 4, maxDepth: 3 };
const open = () =>
  new BitTree<Member>({ width: 16, root: "root", chainOf: ({ base, bits }) => `${base.toString(16)}/${bits}`, shape: SMALL });

/** Follows what the tree says has changed, as the kernel would. */
function follow(tree: BitTree<Member>, held: Map<string, string>): void {
  const { dirty, gone } = tree.take();
  for (const chain of gone) held.delete(chain);
  for (const [chain, node] of dirty) held.set(chain, textOf(node));
}

function textOf({ body }: TreeNode<Member>): string {
  if ("children" in body) return `to ${[...body.children.values()].map(({ chain }) => chain).toSorted().join(" ")}`; // prettier-ignore
  return `of ${[...body.members.values()].map(({ value, weight }) => `${value}x${weight}`).toSorted().join(" ")}`; // prettier-ignore
}

function depthOf(held: ReadonlyMap<string, string>, chain = "root"): number {
  const [verb, ...below] = (held.get(chain) ?? "").split(" ");
  return verb === "to" ? 1 + Math.max(...below.map((one) => depthOf(held, one))) : 0;
}

// Powers of two part from each other at every level: a set of them is as deep as it can be.
const aValue = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 15 }).map((n) => 2 ** n), fc.integer({ min: 0, max: 0xffff })); // prettier-ignore
const aStep = fc.record({ value: aValue, weight: fc.option(fc.integer({ min: 0, max: 6 }), { nil: undefined }) });

test("the shape follows from the members alone, one by one or all at once, what has changed is told, and no branch is deeper than allowed", () => {
  fc.assert(
    fc.property(fc.array(aStep, { maxLength: 120, size: "max" }), (steps) => {
      const members = new Map<number, number>();
      const tree = open();
      const held = new Map<string, string>();
      for (const [i, { value, weight }] of steps.entries()) {
        if (weight === undefined) {
          members.delete(value);
          tree.delete(BigInt(value));
        } else {
          members.set(value, weight);
          tree.set({ value: BigInt(value), weight });
        }
        if (i % 3 === 0) follow(tree, held);
      }
      follow(tree, held);
      const fresh = open();
      const wanted = new Map<string, string>();
      for (const [value, weight] of [...members].toSorted(([a], [b]) => a - b)) fresh.set({ value: BigInt(value), weight });
      follow(fresh, wanted);
      expect([...held].toSorted()).toEqual([...wanted].toSorted());
      expect(depthOf(held)).toBeLessThanOrEqual(SMALL.maxDepth);
      const filled = open();
      const atOnce = new Map<string, string>();
      filled.fill(Array.from(members, ([value, weight]) => ({ value: BigInt(value), weight })));
      follow(filled, atOnce);
      expect([...atOnce].toSorted()).toEqual([...wanted].toSorted());
      for (const [value, weight] of members) expect(tree.get(BigInt(value))).toEqual({ value: BigInt(value), weight });
    }),
    { numRuns: 500 },
  );
});

test("few members are one leaf; one more than it may weigh branches at the first bits that tell them apart", () => {
  const tree = open();
  const held = new Map<string, string>();
  for (const value of [0x1200n, 0x1201n, 0x1202n, 0x1203n]) tree.set({ value, weight: 1 });
  follow(tree, held);
  expect([...held.keys()]).toEqual(["root"]);
  tree.set({ value: 0x1240n, weight: 1 });
  follow(tree, held);
  expect(Object.fromEntries(held)).toEqual({
    root: "to 1200/10 1240/10",
    "1200/10": "of 4608x1 4609x1 4610x1 4611x1",
    "1240/10": "of 4672x1",
  });
  tree.delete(0x1203n);
  follow(tree, held);
  expect([...held.keys()]).toEqual(["root"]);
});
