import { expect, test } from "vitest";
import { EXTERNAL_LINES } from "#agent/dataplane/ipvs/device.ts";
import type { IpFamily } from "#proto/ip.ts";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { ipvsDriverOn } from "./ipvs-rig.ts";

/** What others have under the numbers that we use, on a kernel that need not have virtual servers. */

const FAMILIES = [
  ["IPv4", "-4", "192.0.2.0/24", "203.0.113.0/24"],
  ["IPv6", "-6", "2001:db8:1::/64", "2001:db8:2::/64"],
] as const;

async function waysOn(host: Host, option: string): Promise<string> {
  const look = async (...args: string[]): Promise<string> => (await host.run("ip", [option, ...args], { reject: false })).stdout;
  return `${await look("rule", "show")}\n${await look("route", "show", "table", "9617")}\n${await look("-br", "link")}`;
}

const cleanup = (host: Host, family: IpFamily, dryRun: boolean): Promise<readonly string[]> => {
  const { driver } = ipvsDriverOn(host, family);
  return driver.cleanup({ dryRun }, new AbortController().signal).finally(() => driver.close());
};

test.for(FAMILIES)("%s: rules and routes of others with our numbers stay where they are", async ([family, option, from, to]) => {
  await using fleet = await createFleet({ hosts: 1, containersPerHost: 0 });
  const [host] = fleet.hosts;
  const ip = (line: string) => host.run("ip", [option, ...line.split(" ")]);
  await ip(`rule add from ${from} lookup 100 priority 9616`);
  await ip(`rule add from ${from} lookup 9617 priority 9617`);
  await ip(`route add ${to} dev lo table 9617`);
  await ip("route add default dev lo table 9617");
  const untouched = await waysOn(host, option);
  expect(await cleanup(host, family, true)).toEqual([]);
  expect(await cleanup(host, family, false)).toEqual([]);
  expect(await waysOn(host, option)).toBe(untouched);

  await host.run("ip", ["link", "add", "fairlead0", "type", "bridge"]);
  for (const line of EXTERNAL_LINES) await ip(line);
  const ours = await waysOn(host, option);
  for (const line of untouched.split("\n")) expect(ours).toContain(line);
  expect(await cleanup(host, family, false)).toEqual([`${family} routing rule for external IPs`, "device fairlead0"]);
  expect(await waysOn(host, option)).toBe(untouched);
});
