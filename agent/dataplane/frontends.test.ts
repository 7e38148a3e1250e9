import { expect, test } from "vitest";
import { aBackend, aCompiled, aFrontend } from "#test/tables.ts";
import { frontendChanges, frontendsOf, placeOf, UseCount } from "./frontends.ts";

const four = aFrontend({ address: "10.96.0.10" });
const six = aFrontend({ family: "IPv6", address: "fd10::10" });
const nodePort = aFrontend({ scope: "nodePort", address: "", port: 30080 });

test("a driver sees the frontends of its family alone", () => {
  expect(frontendsOf([aCompiled([four, six]), aCompiled([nodePort])], "IPv4")).toEqual([four, nodePort]);
  expect(frontendsOf([aCompiled([four, six])], "IPv6")).toEqual([six]);
});

test("a change of a service is one of each place that is in either state", () => {
  const moved = aFrontend({ address: "10.96.0.11" });
  const fuller = { ...nodePort, backends: [aBackend("10.0.0.1")] };
  const change = { key: "default/web", previous: aCompiled([four, six, nodePort]), next: aCompiled([moved, fuller]) };
  expect(frontendChanges(change, "IPv4")).toEqual([
    { previous: four, next: undefined },
    { previous: nodePort, next: fuller },
    { previous: undefined, next: moved },
  ]);
  expect(frontendChanges({ ...change, next: undefined }, "IPv6")).toEqual([{ previous: six, next: undefined }]);
  expect(frontendChanges({ ...change, previous: undefined }, "IPv6")).toEqual([]);
});

test("an address that was external and is a load balancer's now is the same place", () => {
  const before = aFrontend({ scope: "external", address: "192.0.2.1" });
  const after = { ...before, scope: "loadBalancer" as const };
  expect(placeOf(before)).toBe(placeOf(after));
  expect(frontendChanges({ key: "a/b", previous: aCompiled([before]), next: aCompiled([after]) }, "IPv4")).toEqual([
    { previous: before, next: after },
  ]);
});

test("words come with their first use and go with their last, and what came and went meanwhile is not told", () => {
  const uses = new UseCount();
  for (const word of ["a", "a", "b"]) uses.add(word);
  expect(uses.take()).toEqual({ added: ["a", "b"], removed: [] });
  uses.remove("a");
  uses.remove("b");
  uses.add("c");
  uses.remove("c");
  expect([uses.has("a"), uses.has("b"), [...uses.words()]]).toEqual([true, false, ["a"]]);
  expect(uses.take()).toEqual({ added: [], removed: ["b"] });
  uses.remove("a");
  uses.add("a");
  expect(uses.take()).toEqual({ added: [], removed: [] });
});
