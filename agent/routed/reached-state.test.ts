import { expect, test } from "vitest";
import { parseCidr } from "#proto/ip.ts";
import { compileTable } from "#agent/compile/compile.ts";
import { aNode, aService, aSlice, aState } from "#test/states.ts";
import type { Unreached } from "./peer-routes.ts";
import { reachedState } from "./reached-state.ts";

const endpoints = [
  { addresses: ["172.17.0.2"], nodeName: "h9" },
  { addresses: ["172.17.0.2"], nodeName: aNode.name },
  { addresses: ["172.17.0.3"], nodeName: "h9" },
  { addresses: ["192.168.56.11"], nodeName: "h9" },
  { addresses: ["172.17.0.4"] },
];

function unreached(text: string): Unreached {
  const cidr = parseCidr(text);
  if (!cidr) throw new Error(text);
  return { node: "h9", text, cidr, hops: [], why: "this host has the same" };
}

test("containers that this host does not reach are no endpoints here; its own at the same address, and those of no known host, are", () => {
  const all = aState([aService()], [aSlice({ endpoints })]);
  const addressesWith = (left: readonly Unreached[]) =>
    [
      ...compileTable(
        reachedState(all, () => left),
        aNode,
      ).services.values(),
    ].flatMap(({ frontends }) =>
      frontends.flatMap(({ backends }) => backends.map(({ address, isLocal }) => `${address}${isLocal ? " here" : ""}`)),
    );
  expect(addressesWith([unreached("172.17.0.0/16")])).toEqual(["172.17.0.2 here", "172.17.0.4", "192.168.56.11"]);
  expect(addressesWith([])).toHaveLength(4);
  expect(addressesWith([unreached("10.201.0.0/16")])).toHaveLength(4);
});
