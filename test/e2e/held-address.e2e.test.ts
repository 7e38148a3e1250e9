import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Backend } from "#agent/compile/table.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import type { IpFamily } from "#proto/ip.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { askHttp, driverOn } from "./dataplane-rig.ts";
import { nftablesOn } from "./nftables-rig.ts";

/** A host holds a load balancer's address itself, as keepalived makes it do. */

const signal = new AbortController().signal;

interface Held {
  readonly family: IpFamily;
  readonly held: string;
  readonly flag: "-4" | "-6";
  readonly serviceCidr: string;
  readonly ipOf: (machine: Host) => string;
}

const v4: Held = { family: "IPv4", held: "172.30.77.7", flag: "-4", serviceCidr: "10.96.0.0/16", ipOf: ({ ip }) => ip };
const v6: Held = { family: "IPv6", held: "fd30::beef", flag: "-6", serviceCidr: "fd00:10:96::/112", ipOf: ({ ip6 }) => ip6 };

let fleet: Fleet<readonly [Host, Host]>;
let a: Host;
let b: Host;

beforeAll(async () => {
  fleet = await createFleet({ hosts: 2 });
  [a, b] = fleet.hosts;
  const listen = [v4, v6].flatMap((of) => ["--listen", `${urlHost(of.ipOf(b))}:8080`]);
  const http = await b.spawn("node", ["test/fleet/http-echo.ts", "--id", "b", ...listen]);
  await http.waitForLine(/^listening/);
  await a.run("ip", ["addr", "add", `${v4.held}/32`, "dev", "eth0"]);
  await a.run("ip", ["-6", "addr", "add", `${v6.held}/128`, "dev", "eth0", "nodad"]);
});
afterAll(() => fleet[Symbol.asyncDispose]());

const urlHost = (ip: string): string => (ip.includes(":") ? `[${ip}]` : ip);

describe.for([
  ["nftables", (family) => nftablesOn(a, family)],
  ["iptables-nft", (family) => driverOn(a, "nft", family)],
  ["iptables-legacy", (family) => driverOn(a, "legacy", family)],
] as const satisfies readonly (readonly [string, (family: IpFamily) => { driver: DataplaneDriver }])[])("%s", ([, open]) => {
  const serve = async ({ family, held, serviceCidr, ipOf }: Held, backends: readonly Backend[]): Promise<void> => {
    const { driver } = open(family);
    onTestFinished(async () => {
      await driver.cleanup({ dryRun: false }, signal);
      driver.close();
    });
    const web = aCompiled([aFrontend({ family, scope: "loadBalancer", address: held, backends })]);
    await driver.sync(aTable([web], aHostTable({ serviceCidrs: [serviceCidr], nodeIps: [ipOf(a)] })), signal);
  };
  const ping = async (from: Host, { flag, held }: Held): Promise<string> => {
    const { stdout } = await from.run("ping", [flag, "-n", "-c1", "-W2", held], { reject: false });
    return stdout;
  };

  test("neighbours of IPv6 find each other through it, and what nobody declared there is refused", async () => {
    await serve(v6, [aBackend(b.ip6)]);
    for (const machine of [a, b]) await machine.run("ip", ["-6", "neigh", "flush", "dev", "eth0"]);
    // The solicitation has the held address as its source, so the advertisement that answers is for that address.
    const pinged = await a.run("ping", ["-6", "-c1", "-W2", "-I", v6.held, b.ip6], { reject: false });
    expect(pinged.exitCode, pinged.stdout).toBe(0);
    expect((await askHttp(b, `[${v6.held}]`)).answers).toEqual({ b: 1 });
    expect((await askHttp(b, `[${v6.held}]:81`)).failures).toEqual({ ECONNREFUSED: 1 });
  });

  describe.for([v4, v6])("$family", (of) => {
    test("a ping is answered where the service has an endpoint, whoever sends it", async () => {
      await serve(of, [aBackend(of.ipOf(b))]);
      for (const from of [a, b]) expect(await ping(from, of), from.name).toContain(`bytes from ${of.held}: icmp_seq=1`);
    });

    test("a ping is refused where it has none", async () => {
      await serve(of, []);
      for (const from of [a, b]) expect(await ping(from, of), from.name).toMatch(/Port Unreachable|Port unreachable/);
    });
  });
});
