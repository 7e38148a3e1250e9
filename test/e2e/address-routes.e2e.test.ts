import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { CompiledService } from "#agent/compile/table.ts";
import { createAddressRoutes } from "#agent/dataplane/address-routes.ts";
import { openKernelTools, type KernelTools } from "#agent/dataplane/exec.ts";
import { removeOurRoutes } from "#agent/dataplane/route.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { askHttp, driverOn } from "./dataplane-rig.ts";
import { nftablesOn } from "./nftables-rig.ts";

/** A host with routes to its neighbours and none to anywhere else connects to addresses of load balancers and to external ones. */

const signal = new AbortController().signal;
let fleet: Fleet<readonly [Host, Host]>;
let a: Host;
let b: Host;
let calls: string[] = [];
let tools: KernelTools;

const v4 = {
  family: "IPv4",
  flag: "-4",
  balancer: "198.51.100.7",
  external: "203.0.113.9",
  other: "203.0.113.10",
  gateway: "172.30.255.254",
} as const;
const v6 = {
  family: "IPv6",
  flag: "-6",
  balancer: "2001:db8:1::7",
  external: "2001:db8:2::9",
  other: "2001:db8:2::a",
  gateway: "fd30::ffff",
} as const;
type Of = typeof v4 | typeof v6;

beforeAll(async () => {
  fleet = await createFleet({ hosts: 2 });
  [a, b] = fleet.hosts;
  const http = await b.spawn("node", ["test/fleet/http-echo.ts", "--id", "b", "--listen", `${b.ip}:8080`, "--listen", `[${b.ip6}]:8080`]);
  await http.waitForLine(/^listening/);
  for (const { flag } of [v4, v6]) await a.run("ip", [flag, "route", "delete", "default"]);
  const real = openKernelTools({ enter: a.enter });
  tools = {
    has: (file) => real.has(file),
    read: (file) => real.read(file),
    run: async (file, args, options) => {
      calls.push([file, ...args].join(" "));
      return real.run(file, args, options);
    },
  };
});
afterAll(() => fleet[Symbol.asyncDispose]());
beforeEach(async () => {
  await removeOurRoutes(tools, { dryRun: false }, signal);
});

const ipOf = (machine: Host, { family }: Of): string => (family === "IPv4" ? machine.ip : machine.ip6);
const urlHost = (ip: string): string => (ip.includes(":") ? `[${ip}]` : ip);
const serviceAt = (of: Of, address: string, scope: "loadBalancer" | "external", key = "default/web"): CompiledService =>
  aCompiled([aFrontend({ family: of.family, scope, address, id: key, backends: [aBackend(ipOf(b, of))] })], key);
const both = (of: Of): CompiledService[] => [
  serviceAt(of, of.balancer, "loadBalancer", "default/balanced"),
  serviceAt(of, of.external, "external", "default/external"),
];
const ours = async ({ flag }: Of): Promise<string[]> => {
  const { stdout } = await a.run("ip", [flag, "route", "show", "protocol", "76"]);
  return stdout
    .split("\n")
    .flatMap((line) => (line === "" ? [] : [line.split(" ")[0] ?? ""]))
    .toSorted();
};

/** Runs until the test is over. */
function keep(lookEveryMs = 60_000, more: { readonly lookedAtOnce?: number } = {}) {
  const end = new AbortController();
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const kept = createAddressRoutes({ tools, addresses: () => [a.ip, a.ip6], log, lookEveryMs, ...more });
  const running = kept.run(end.signal);
  const stop = async (): Promise<void> => {
    end.abort();
    await running;
  };
  onTestFinished(stop);
  let revision = 0;
  return {
    stop,
    table: (services: readonly CompiledService[]) => kept.put({ revision: ++revision, table: aTable(services), changes: [] }),
    change: (previous: CompiledService | undefined, next: CompiledService | undefined) =>
      kept.put({ revision: ++revision, changes: [{ key: (next ?? previous)?.key ?? "", previous, next }] }),
  };
}

describe.for([v4, v6])("$family", (of) => {
  test.for([
    ["nftables", () => nftablesOn(a, of.family)],
    ["iptables-nft", () => driverOn(a, "nft", of.family)],
    ["iptables-legacy", () => driverOn(a, "legacy", of.family)],
  ] as const)("%s: they are out of reach until there are routes of ours", async ([, open]) => {
    const { driver } = open();
    onTestFinished(async () => {
      await driver.cleanup({ dryRun: false }, signal);
      driver.close();
    });
    await driver.sync(aTable(both(of), aHostTable({ nodeIps: [ipOf(a, of)] })), signal);
    const ask = async (address: string) => askHttp(a, urlHost(address));
    for (const address of [of.balancer, of.external]) expect((await ask(address)).failures, address).toEqual({ ENETUNREACH: 1 });
    keep().table(both(of));
    await waitFor(async () => (await ours(of)).length === 2, { what: "the routes" });
    for (const address of [of.balancer, of.external]) expect((await ask(address)).answers, address).toEqual({ b: 1 });
  });

  test("a route comes with its address and goes with it, each by work for that one alone", async () => {
    const many = Array.from({ length: 50 }, (_, i) =>
      serviceAt(of, `${of.external.slice(0, -1)}${i + 100}`, "external", `default/many-${i}`),
    );
    const kept = keep();
    kept.table(many);
    await waitFor(async () => (await ours(of)).length === many.length, { what: "the routes" });
    calls = [];
    const web = serviceAt(of, of.balancer, "loadBalancer");
    kept.change(undefined, web);
    await waitFor(async () => (await ours(of)).includes(of.balancer), { what: "the route to come" });
    kept.change(web, undefined);
    await waitFor(async () => !(await ours(of)).includes(of.balancer), { what: "the route to go" });
    // Is there a way, make one; take it away.
    const batch = (words: string): string => `ip ${words}${of.flag} -force -batch -`;
    expect(calls).toEqual([batch("-j "), batch(""), batch("")]);
  });

  test("where there is a way none is made, and ours goes when another comes", async () => {
    const kept = keep(20);
    kept.table(both(of));
    await waitFor(async () => (await ours(of)).length === 2, { what: "the routes" });
    const prefix = `${of.balancer}/${of.family === "IPv4" ? 32 : 128}`;
    await a.run("ip", [of.flag, "route", "add", prefix, "via", ipOf(b, of), "metric", "50"]);
    onTestFinished(async () => {
      await a.run("ip", [of.flag, "route", "delete", prefix, "via", ipOf(b, of), "metric", "50"]);
    });
    await waitFor(async () => (await ours(of)).join() === of.external, { what: "the route to go where there is another" });
    await a.run("ip", [of.flag, "route", "add", "default", "via", of.gateway]);
    await waitFor(async () => (await ours(of)).length === 0, { what: "all routes to go where there is a default route" });
    await a.run("ip", [of.flag, "route", "delete", "default"]);
    await waitFor(async () => (await ours(of)).join() === of.external, { what: "the route to come back" });
  });

  test("however many there are, ours go soon when another way comes", async () => {
    const kept = keep(20, { lookedAtOnce: 0.001 }); // all are looked at once in 40 s
    kept.table(both(of));
    await waitFor(async () => (await ours(of)).length === 2, { what: "the routes" });
    await a.run("ip", [of.flag, "route", "add", "default", "via", of.gateway]);
    onTestFinished(async () => {
      await a.run("ip", [of.flag, "route", "delete", "default"]);
    });
    await waitFor(async () => (await ours(of)).length === 0, { what: "all routes to go where there is a default route" });
  });

  test("what an earlier run left goes when nobody wants it, and not before that is known", async () => {
    const earlier = keep();
    earlier.table(both(of));
    await waitFor(async () => (await ours(of)).length === 2, { what: "the routes" });
    await earlier.stop();
    const kept = keep(10);
    expect(await ours(of)).toHaveLength(2);
    kept.table([serviceAt(of, of.other, "external")]);
    await waitFor(async () => (await ours(of)).join() === of.other, { what: "only the wanted route to be there" });
  });
});

test("a host that has no such addresses pays nothing", async () => {
  calls = [];
  const kept = keep(5);
  kept.table([aCompiled([aFrontend()])]);
  await waitFor(() => calls.length === 2, { what: "the first look, at both families" });
  calls = [];
  kept.change(undefined, aCompiled([aFrontend({ address: "10.96.0.11" })], "default/other"));
  await waitFor(async () => (await ours(v4)).length === 0, { what: "a look from outside" });
  expect(calls).toEqual([]);
});
