import { expect, test } from "vitest";
import { parseObject } from "#proto/parse.ts";
import { ROUTED_CIDRS_ANNOTATION, routedCidrsOf, type Node } from "#proto/node.ts";
import { routedFaults } from "./routed-cidrs.ts";

function aHost(podCIDRs: readonly string[], routed: string): Node {
  const metadata = { name: "h1", annotations: { [ROUTED_CIDRS_ANNOTATION]: routed } };
  return parseObject("Node", { apiVersion: "v1", kind: "Node", metadata, spec: { podCIDRs } });
}

const rows = [
  { name: "private networks behind the host", podCIDRs: ["172.17.0.0/16", "fd00:1::/64"], routed: "172.17.0.0/16, fd00:1::/64", want: [] },
  { name: "none at all", podCIDRs: [], routed: "", want: [] },
  { name: "one that is not behind the host", podCIDRs: ["172.17.0.0/16"], routed: "172.18.0.0/16", want: ["must be one of spec.podCIDRs"] },
  { name: "a part of one", podCIDRs: ["172.17.0.0/16"], routed: "172.17.1.0/24", want: ["must be one of spec.podCIDRs"] },
  { name: "everything", podCIDRs: ["0.0.0.0/0"], routed: "0.0.0.0/0", want: ["is wider than /16"] },
  { name: "half of a private range", podCIDRs: ["10.128.0.0/9"], routed: "10.128.0.0/9", want: ["is wider than /16"] },
  { name: "a wide one of IPv6", podCIDRs: ["fd00::/32"], routed: "fd00::/32", want: ["is wider than /48"] },
  { name: "somebody's public network", podCIDRs: ["8.8.8.0/24"], routed: "8.8.8.0/24", want: ["is not private"] },
  { name: "no prefix", podCIDRs: ["172.17.0.0/16"], routed: "172.17.0.1/16", want: ["must be a prefix"] },
  { name: "each by itself", podCIDRs: ["10.0.0.0/24", "8.8.8.0/24"], routed: "10.0.0.0/24,8.8.8.0/24", want: [`[1]: is not private`] },
];
test.for(rows)("what a host may draw to itself: $name", ({ podCIDRs, routed, want }) => {
  const found = routedFaults(undefined, aHost(podCIDRs, routed), { onlyPrivateRoutes: true });
  const told = found.map(({ field, message }) => `${field.slice(field.lastIndexOf("["))}: ${message.slice(message.lastIndexOf('"') + 3)}`);
  expect(told).toHaveLength(want.length);
  for (const [i, text] of want.entries()) expect(told[i]).toContain(text);
});

test("an administrator may name public networks, and what stands there already is not looked at again", () => {
  const node = aHost(["8.8.8.0/24"], "8.8.8.0/24");
  expect(routedFaults(undefined, node, { onlyPrivateRoutes: false })).toEqual([]);
  expect(routedFaults(node, node, { onlyPrivateRoutes: true })).toEqual([]);
});

test("other hosts go by what is in both lists", () => {
  expect(routedCidrsOf(aHost(["172.17.0.0/16", "10.1.0.0/24"], "172.17.0.0/16,172.18.0.0/16,garbage"))).toEqual(["172.17.0.0/16"]);
  expect(routedCidrsOf({ metadata: { name: "h1" }, spec: { podCIDRs: ["172.17.0.0/16"] } })).toEqual([]);
});
