import { expect, onTestFinished, test } from "vitest";
import { aBackend, aCompiled, aFrontend, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { createAddressRoutes, holderOf } from "./address-routes.ts";
import type { KernelTools } from "./exec.ts";
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

test.for([
  ["-4", ["2001:db8::1"]],
  ["-6", ["192.0.2.1"]],
] as const)("where the kernel refuses all of %s, the other family has its routes, and the trouble is told", async ([refused, routed]) => {
  const inputs: string[] = [];
  const tools: KernelTools = {
    has: () => Promise.resolve(true),
    read: () => Promise.resolve(undefined),
    run(_file, args, { input } = {}) {
      if (args.includes(refused)) return Promise.reject(new Error("refused"));
      if (typeof input === "string") inputs.push(input);
      return Promise.resolve({ stdout: "", stderr: "", exitCode: 0 });
    },
  };
  const problems: unknown[] = [];
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const addresses = (): string[] => ["172.30.0.1", "fd30::1"];
  const kept = createAddressRoutes({ tools, addresses, log, onProblem: (problem) => problems.push(problem) });
  const end = new AbortController();
  const running = kept.run(end.signal);
  onTestFinished(async () => {
    end.abort();
    await running;
  });
  const at = (family: "IPv4" | "IPv6", address: string, backend: string) =>
    aCompiled([aFrontend({ family, scope: "external", address, backends: [aBackend(backend)] })], `default/${family}`);
  const services = [at("IPv4", "192.0.2.1", "172.30.0.2"), at("IPv6", "2001:db8::1", "fd30::2")];
  kept.put({ revision: 1, table: aTable(services), changes: [] });
  await waitFor(() => problems.length > 0, { what: "the problem" });
  const added = inputs.flatMap((input) => [...input.matchAll(/^route add (\S+) /gm)].map(([, address]) => address));
  expect(added).toEqual(routed);
});
