import { expect, test } from "vitest";
import { holderOf } from "./address-routes.ts";
import { ROUTE_PROTOCOL } from "./route-edge.ts";

const routes = [
  { dst: "198.51.100.0/24", dev: "eth0" },
  { dst: "203.0.113.9", dev: "eth0" },
  { dst: "203.0.113.10", dev: "lo", protocol: ROUTE_PROTOCOL },
  { dst: "192.0.2.0/24", type: "unreachable" },
  { dst: "192.0.3.0/24", dev: "eth1", flags: ["dead", "linkdown"] },
  { dst: "192.0.4.0/24", dev: "eth1", flags: ["linkdown"] },
];

test.for([
  ["198.51.100.7", true, "is in a prefix"],
  ["203.0.113.9", true, "has a route of its own"],
  ["203.0.113.10", false, "has only the route that we made"],
  ["192.0.2.1", false, "is unreachable"],
  ["192.0.3.1", false, "is behind a link that is down, and the kernel ignores such routes"],
  ["192.0.4.1", true, "is behind a link that is down, and the kernel does not mind"],
  ["203.0.113.11", false, "is in none"],
] as const)("%s, held by another route: %s, because it %s", ([address, isHeld]) => {
  expect(holderOf("IPv4", routes)(address)).toBe(isHeld);
});

test("a default route holds every address of its family", () => {
  expect(holderOf("IPv4", [{ dst: "default", dev: "eth0" }])("192.0.2.1")).toBe(true);
  expect(holderOf("IPv6", [{ dst: "default", dev: "eth0" }])("2001:db8::1")).toBe(true);
  expect(holderOf("IPv6", [{ dst: "2001:db8::/64", dev: "eth0" }])("2001:db8:1::1")).toBe(false);
});
