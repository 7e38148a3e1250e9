import { expect, test } from "vitest";
import { checkRanges, type LocalRoute } from "./ranges.ts";

test.for<[string, string, LocalRoute[]]>([
  ["a route inside of the range", "10.96.0.0/16", [{ dst: "10.96.4.0/24", dev: "eth1" }]],
  [
    "a route around the range",
    "10.96.0.0/16",
    [
      { dst: "default", dev: "eth0" },
      { dst: "10.0.0.0/8", dev: "eth1" },
    ],
  ],
  ["a route to one host of the range", "10.96.0.0/16", [{ dst: "10.96.0.1", dev: "tun0" }]],
  ["an IPv6 route", "fd00:10:96::/112", [{ dst: "fd00::/16", dev: "eth1" }]],
])("%s is refused and named", ([, range, routes]) => {
  expect(() => {
    checkRanges([range], routes);
  }).toThrow(`the service range ${range} overlaps the route ${routes.at(-1)?.dst} dev ${routes.at(-1)?.dev} of this host`);
});

test("the default route and the neighbours of the range are no reason to refuse", () => {
  const routes = [
    { dst: "default", dev: "eth0" },
    { dst: "0.0.0.0/0" },
    { dst: "10.95.0.0/16" },
    { dst: "10.97.0.0/16" },
    { dst: "fe80::/64" },
  ];
  expect(() => {
    checkRanges(["10.96.0.0/16", "fd00::/112"], routes);
  }).not.toThrow();
});

test("what an agent of this host has in the range is no reason to refuse: the server starts again beside it", () => {
  const routes = [
    { dst: "fd00:10:96::a", dev: "lo" },
    { dst: "fd00:10:96::/112", dev: "lo" },
    { dst: "10.96.0.0/16", dev: "lo" },
    { dst: "10.96.0.1", dev: "fairlead0" },
  ];
  expect(() => {
    checkRanges(["10.96.0.0/16", "fd00:10:96::/112"], routes);
  }).not.toThrow();
});
