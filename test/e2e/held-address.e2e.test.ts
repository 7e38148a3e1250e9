import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { askHttp, driverOn } from "./dataplane-rig.ts";
import { nftablesOn } from "./nftables-rig.ts";

/** A host holds a load balancer's address itself, as keepalived makes it do. */

const signal = new AbortController().signal;
const HELD = "fd30::beef";

let fleet: Fleet<readonly [Host, Host]>;
let a: Host;
let b: Host;

beforeAll(async () => {
  fleet = await createFleet({ hosts: 2 });
  [a, b] = fleet.hosts;
  const http = await b.spawn("node", ["test/fleet/http-echo.ts", "--id", "b", "--listen", `[${b.ip6}]:8080`]);
  await http.waitForLine(/^listening/);
  await a.run("ip", ["-6", "addr", "add", `${HELD}/128`, "dev", "eth0", "nodad"]);
});
afterAll(() => fleet[Symbol.asyncDispose]());

describe.for([
  ["nftables", () => nftablesOn(a, "IPv6")],
  ["iptables-nft", () => driverOn(a, "nft", "IPv6")],
  ["iptables-legacy", () => driverOn(a, "legacy", "IPv6")],
] as const)("%s", ([, open]) => {
  test("neighbours of IPv6 find each other through it, and what nobody declared there is refused", async () => {
    const { driver } = open();
    onTestFinished(async () => {
      await driver.cleanup({ dryRun: false }, signal);
      driver.close();
    });
    const web = aCompiled([aFrontend({ family: "IPv6", scope: "loadBalancer", address: HELD, backends: [aBackend(b.ip6)] })]);
    await driver.sync(aTable([web], aHostTable({ serviceCidrs: ["fd00:10:96::/112"], nodeIps: [a.ip6] })), signal);
    for (const machine of [a, b]) await machine.run("ip", ["-6", "neigh", "flush", "dev", "eth0"]);
    // The solicitation has the held address as its source, so the advertisement that answers is for that address.
    const ping = await a.run("ping", ["-6", "-c1", "-W2", "-I", HELD, b.ip6], { reject: false });
    expect(ping.exitCode, ping.stdout).toBe(0);
    expect((await askHttp(b, `[${HELD}]`)).answers).toEqual({ b: 1 });
    expect((await askHttp(b, `[${HELD}]:81`)).failures).toEqual({ ECONNREFUSED: 1 });
  });
});
