import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { askHttp, driverOn, saved } from "./dataplane-rig.ts";
import { nftablesOn } from "./nftables-rig.ts";

/** A firewall of the host drops what comes in, and load balancers still learn at the health port whether the host has endpoints. */

const signal = new AbortController().signal;

describe.for([
  ["iptables-nft", "nft", (a: Host, family: "IPv4" | "IPv6") => driverOn(a, "nft", family)],
  ["iptables-legacy", "legacy", (a: Host, family: "IPv4" | "IPv6") => driverOn(a, "legacy", family)],
  ["nftables, beside iptables-nft", "nft", nftablesOn],
  ["nftables, beside iptables-legacy", "legacy", nftablesOn],
] as const)("%s", ([, kind, open]) => {
  let fleet: Fleet<readonly [Host]>;
  let a: Host;

  beforeAll(async () => {
    fleet = await createFleet({ hosts: 1, backend: kind });
    [a] = fleet.hosts;
    // Nothing comes in, also no answer; IPv6 needs its neighbours.
    for (const program of ["iptables", "ip6tables"]) await a.run(`${program}-${kind}`, ["-P", "INPUT", "DROP"]);
    await a.run(`ip6tables-${kind}`, ["-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT"]);
    for (const port of [32_000, 32_001]) {
      const listen = [`${a.ip}:${port}`, `[${a.ip6}]:${port}`].flatMap((at) => ["--listen", at]);
      for (let i = 0; i < listen.length; i += 2) {
        const http = await a.spawn("node", ["test/fleet/http-echo.ts", "--id", "a", ...listen.slice(i, i + 2)]);
        await http.waitForLine(/^listening/);
      }
    }
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  test.for(["IPv4", "IPv6"] as const)("%s", async (family) => {
    const { driver } = open(a, family);
    onTestFinished(() => driver.close());
    const ip = family === "IPv4" ? a.ip : a.ip6;
    const at = family === "IPv4" ? a.ip : `[${a.ip6}]`;
    const isOpen = async (port: number): Promise<boolean> =>
      (await askHttp(fleet.out, `${at}:${port}`, { timeoutMs: 400 })).answers["a"] === 1;
    const serviceCidrs = family === "IPv4" ? ["10.96.0.0/16"] : ["fd00:10:96::/112"];
    const host = aHostTable({ serviceCidrs, nodeIps: [a.ip, a.ip6] });
    const address = family === "IPv4" ? "203.0.113.9" : "2001:db8::9";
    const withPort = (port: number | undefined) =>
      aCompiled([aFrontend({ family, scope: "loadBalancer", address, backends: [aBackend(ip, 9)] })], "default/web", {
        healthCheck: port === undefined ? undefined : { port, localEndpoints: 0 },
      });

    await driver.sync(aTable([withPort(undefined)], host), signal);
    expect(await isOpen(32_000)).toBe(false);
    await driver.update([{ key: "default/web", previous: withPort(undefined), next: withPort(32_000) }], signal);
    expect([await isOpen(32_000), await isOpen(32_001)]).toEqual([true, false]);
    expect(await driver.verify(signal)).toEqual({ intact: true });
    await driver.update([{ key: "default/web", previous: withPort(32_000), next: withPort(32_001) }], signal);
    expect([await isOpen(32_000), await isOpen(32_001)]).toEqual([false, true]);
    await driver.sync(aTable([withPort(32_000)], host), signal);
    expect([await isOpen(32_000), await isOpen(32_001)]).toEqual([true, false]);
    await driver.sync(aTable([withPort(32_000)], { ...host, nodePortCidrs: ["192.0.2.0/24", "2001:db8:5::/64"] }), signal);
    expect(await isOpen(32_000)).toBe(false);
    await driver.sync(aTable([withPort(32_000)], host), signal);
    await driver.update([{ key: "default/web", previous: withPort(32_000), next: undefined }], signal);
    expect(await isOpen(32_000)).toBe(false);
    expect(await saved(a, kind, "all", family === "IPv4" ? "iptables" : "ip6tables")).not.toContain("HEALTH");
    await driver.cleanup({ dryRun: false }, signal);
    expect(await isOpen(32_000)).toBe(false);
  });
});
