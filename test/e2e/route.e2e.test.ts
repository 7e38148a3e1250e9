import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { openKernelTools, type KernelTools } from "#agent/dataplane/exec.ts";
import { ensureRangeRoutes, keepRangeRoutes, removeOurRoutes } from "#agent/dataplane/route.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { waitFor } from "#test/wait-for.ts";

/** Hosts that have a route to their neighbours and none to anywhere else. The rules are written by hand: no driver has a part in it. */

const signal = new AbortController().signal;
let fleet: Fleet<readonly [Host, Host]>;
let host: Host;
let tools: KernelTools;

const v4 = {
  family: "IPv4",
  flag: "-4",
  iptables: "iptables",
  range: "10.96.0.0/16",
  gateway: "172.30.255.254",
  vips: ["10.96.0.11", "10.96.0.12", "10.96.0.13"],
  nft: { table: "ip", to: (ip: string) => `${ip}:8080` },
  ipOf: ({ ip }: Host) => ip,
  url: (ip: string, port: number) => `${ip}:${port}`,
};
const v6: typeof v4 = {
  family: "IPv6",
  flag: "-6",
  iptables: "ip6tables",
  range: "fd10::/112",
  gateway: "fd30::ffff",
  vips: ["fd10::11", "fd10::12", "fd10::13"],
  nft: { table: "ip6", to: (ip) => `[${ip}]:8080` },
  ipOf: ({ ip6 }) => ip6,
  url: (ip, port) => `[${ip}]:${port}`,
};
const families = [v4, v6];

beforeAll(async () => {
  fleet = await createFleet({ hosts: 2, containersPerHost: 1 });
  [host] = fleet.hosts;
  tools = openKernelTools({ enter: host.enter });
  const container = fleet.host("h1c1");
  const ends = [host, fleet.hosts[1], container] as const;
  for (const machine of ends) {
    const listen = families.flatMap((of) => ["--listen", of.url(of.ipOf(machine), 8080)]);
    const echo = await machine.spawn("node", ["test/fleet/http-echo.ts", "--id", machine.name, ...listen]);
    await echo.waitForLine(/^listening/);
  }
  for (const of of families) await host.run("ip", [of.flag, "route", "delete", "default"]);
});
afterAll(async () => fleet[Symbol.asyncDispose]());

const endpoints = () => [host, fleet.hosts[1], fleet.host("h1c1")];
const deps = () => ({ tools, serviceCidrs: [v4.range, v6.range], addresses: () => [host.ip, host.ip6] });
const ours = async (of: typeof v4): Promise<string> => (await host.run("ip", [of.flag, "route", "show", "protocol", "76"])).stdout.trim();
const addDefault = (of: typeof v4) => host.run("ip", [of.flag, "route", "add", "default", "via", of.gateway]);
const deleteDefault = (of: typeof v4) => host.run("ip", [of.flag, "route", "delete", "default"]);

/** Who answers, or why nobody does. */
async function ask(of: typeof v4, vip: string): Promise<string> {
  const args = ["test/fleet/http-ask.ts", "--url", `http://${of.url(vip, 80)}/`, "--timeout-ms", "3000"];
  const { stdout } = await host.run("node", args);
  const { answers, failures } = JSON.parse(stdout) as Record<"answers" | "failures", Record<string, number>>;
  return [...Object.keys(answers), ...Object.keys(failures)].join(" ");
}

beforeEach(async () => {
  await removeOurRoutes(tools, { dryRun: false }, signal);
});

describe.for(families)("$family", (of) => {
  const byIptables = async (): Promise<void> => {
    for (const [i, machine] of endpoints().entries()) {
      const match = ["-d", of.vips[i] ?? "", "-p", "tcp", "--dport", "80"];
      await host.run(of.iptables, [
        "-t",
        "nat",
        "-A",
        "OUTPUT",
        ...match,
        "-j",
        "DNAT",
        "--to-destination",
        of.url(of.ipOf(machine), 8080),
      ]);
    }
    onTestFinished(async () => {
      await host.run(of.iptables, ["-t", "nat", "-F", "OUTPUT"]);
    });
  };
  const byNft = async (): Promise<void> => {
    const { table, to } = of.nft;
    const rules = endpoints().map((machine, i) => `${table} daddr ${of.vips[i] ?? ""} tcp dport 80 dnat to ${to(of.ipOf(machine))}`);
    const lines = [`table ${table} turned {`, "chain out {", "type nat hook output priority -100", ...rules, "}", "}", ""];
    await host.run("nft", ["-f", "-"], { input: lines.join("\n") });
    onTestFinished(async () => {
      await host.run("nft", ["delete", "table", table, "turned"]);
    });
  };

  test.for([
    { name: "iptables", write: byIptables },
    { name: "nftables", write: byNft },
  ])("$name: without a default route virtual IPs are out of reach, until there is a route of ours", async ({ write }) => {
    await write();
    const asked = () => Promise.all(of.vips.map((vip) => ask(of, vip)));
    expect(await asked()).toEqual(["ENETUNREACH", "ENETUNREACH", "ENETUNREACH"]);
    await ensureRangeRoutes(deps(), signal);
    expect(await asked()).toEqual(["h1", "h2", "h1c1"]);
  });

  test("our route goes when a default route appears, and is not made where one is", async () => {
    const only = { ...deps(), serviceCidrs: [of.range] };
    expect(await ensureRangeRoutes(only, signal)).toEqual([`added the route ${of.range} dev lo`]);
    expect(await ensureRangeRoutes(only, signal)).toEqual([]);
    await addDefault(of);
    onTestFinished(async () => {
      await deleteDefault(of);
    });
    expect(await ensureRangeRoutes(only, signal)).toEqual([`removed the route ${of.range} dev lo`]);
    expect(await ours(of)).toBe("");
    expect(await ensureRangeRoutes(only, signal)).toEqual([]);
    expect(await ours(of)).toBe("");
  });

  test("an unreachable default route is none", async () => {
    await host.run("ip", [of.flag, "route", "add", "unreachable", "default"]);
    onTestFinished(async () => {
      await host.run("ip", [of.flag, "route", "delete", "unreachable", "default"]);
    });
    const only = { ...deps(), serviceCidrs: [of.range] };
    expect(await ensureRangeRoutes(only, signal)).toEqual([`added the route ${of.range} dev lo`]);
    expect(await ensureRangeRoutes(only, signal)).toEqual([]);
  });

  test("an address that the host does not have itself is no hindrance", async () => {
    const addresses = () => ["203.0.113.9", "2001:db8::9"];
    await ensureRangeRoutes({ ...deps(), addresses }, signal);
    await byIptables();
    expect(await ask(of, of.vips[1] ?? "")).toBe("h2");
  });
});

test("cleanup names our routes, then takes them and nobody else's away", async () => {
  await ensureRangeRoutes(deps(), signal);
  await host.run("ip", ["route", "add", "10.97.0.0/16", "dev", "lo"]);
  onTestFinished(async () => {
    await host.run("ip", ["route", "delete", "10.97.0.0/16", "dev", "lo"]);
  });
  const words = ["route 10.96.0.0/16 dev lo", "route fd10::/112 dev lo"];
  expect(await removeOurRoutes(tools, { dryRun: true }, signal)).toEqual(words);
  expect(await removeOurRoutes(tools, { dryRun: false }, signal)).toEqual(words);
  expect(await removeOurRoutes(tools, { dryRun: true }, signal)).toEqual([]);
  expect((await host.run("ip", ["route", "show", "10.97.0.0/16"])).stdout).toContain("dev lo");
});

test("the loop puts back what somebody took, takes away what an earlier range had, and leaves its routes when it ends", async () => {
  await ensureRangeRoutes({ ...deps(), serviceCidrs: ["10.112.0.0/16"] }, signal);
  const end = new AbortController();
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const running = keepRangeRoutes({ ...deps(), log, lookEveryMs: 20 }, end.signal);
  onTestFinished(() => end.abort());
  const isThere = async (): Promise<boolean> => (await ours(v4)).startsWith("10.96.0.0/16 ");
  await waitFor(isThere, { what: "the route" });
  await host.run("ip", ["route", "delete", v4.range, "dev", "lo"]);
  await waitFor(isThere, { what: "the route to be put back" });
  expect(await ours(v4)).not.toContain("10.112.0.0/16");
  await addDefault(v4);
  await waitFor(async () => !(await isThere()), { what: "the route to go, where there is a default route" });
  await deleteDefault(v4);
  await waitFor(isThere, { what: "the route to come back" });
  end.abort();
  await running;
  expect(await isThere()).toBe(true);
});
