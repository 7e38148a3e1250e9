import { expect, test } from "vitest";
import { Node } from "#proto/node.ts";
import { NodeAddresses } from "./node-addresses.ts";

function nodeAt(name: string, ...addresses: readonly string[]): Node {
  const status = { addresses: addresses.map((address) => ({ type: "InternalIP", address })) };
  return Node.parse({ apiVersion: "v1", kind: "Node", metadata: { name }, status });
}

/** Counts how often one is unpacked. */
class Nodes extends Map<string, Node> {
  reads = 0;
  override get(key: string): Node | undefined {
    this.reads++;
    return super.get(key);
  }
}

test("however many ask in vain, each node is read once, and again when it changes", () => {
  const nodes = new Nodes([
    ["h1", nodeAt("h1", "172.30.0.1")],
    ["h2", nodeAt("h2", "172.30.0.2", "fd00::2")],
  ]);
  const addresses = new NodeAddresses({ nodes });
  for (let i = 0; i < 100; i++) expect(addresses.has("203.0.113.9")).toBe(false);
  expect(addresses.has("fd00::2")).toBe(true);
  expect(nodes.reads).toBe(2);
  nodes.set("h2", nodeAt("h2", "172.30.0.3"));
  addresses.touched({ all: false, nodes: new Set(["h2"]) });
  expect(["172.30.0.1", "172.30.0.2", "172.30.0.3", "fd00::2"].map((address) => addresses.has(address))).toEqual([
    true,
    false,
    true,
    false,
  ]);
  expect(nodes.reads).toBe(3);
});

test("an address stays while any node has it, and what goes with a snapshot is gone", () => {
  const nodes = new Nodes([["h1", nodeAt("h1", "172.30.0.1")]]);
  const addresses = new NodeAddresses({ nodes });
  expect(addresses.has("172.30.0.1")).toBe(true);
  nodes.set("again", nodeAt("again", "172.30.0.1"));
  addresses.touched({ all: false, nodes: new Set(["again"]) });
  nodes.delete("h1");
  addresses.touched({ all: false, nodes: new Set(["h1"]) });
  expect(addresses.has("172.30.0.1")).toBe(true);
  nodes.clear();
  addresses.touched({ all: true, nodes: new Set() });
  expect(addresses.has("172.30.0.1")).toBe(false);
});
