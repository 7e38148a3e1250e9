import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import type { CompiledService, ForwardingTable, Frontend, ServiceChange } from "#agent/compile/table.ts";
import { dataplaneLoop } from "#agent/dataplane/loop.ts";
import { createTableMailbox } from "#agent/dataplane/mailbox.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { anyHistory } from "#test/packet/nft-histories.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { askHttp } from "./dataplane-rig.ts";
import { listed, nftablesOn } from "./nftables-rig.ts";

/** What the nftables driver does to a kernel over time: changes, restarts, damage, neighbours' rules, and the way out. */

const signal = new AbortController().signal;
const VIP = "10.96.0.10";

// As Docker writes them through iptables-nft, and somebody's own table.
const FOREIGN_IPTABLES = `*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 9999 -j DNAT --to-destination 172.17.0.2:80
COMMIT
`;
const FOREIGN_NFT = `table inet others {
  set friends { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
  chain input {
    type filter hook input priority 10; policy accept;
    ip saddr @friends counter comment "ip fairlead"
  }
}
`;

let fleet: Fleet<readonly [Host, Host, Host]>;
let a: Host;
let b: Host;
let c: Host;

beforeAll(async () => {
  fleet = await createFleet({ hosts: 3, containersPerHost: 1, containerNetwork: "routed" });
  [a, b, c] = fleet.hosts;
  for (const [machine, id] of [
    [b, "b"],
    [c, "c"],
  ] as const) {
    for (const listen of [`${machine.ip}:8080`, `[${machine.ip6}]:8080`]) {
      const http = await machine.spawn("node", ["test/fleet/http-echo.ts", "--id", id, "--listen", listen]);
      await http.waitForLine(/^listening/);
    }
  }
});
afterAll(() => fleet[Symbol.asyncDispose]());
beforeEach(async () => {
  await nftablesOn(a).driver.cleanup({ dryRun: false }, signal);
});

function driverFor(machine: Host, family: "IPv4" | "IPv6" = "IPv4") {
  const { driver, logged } = nftablesOn(machine, family);
  onTestFinished(() => driver.close());
  return { driver, logged };
}

const hostTable = () => aHostTable({ nodeIps: [a.ip], localCidrs: ["10.200.1.0/24"] });
const tableOf = (...services: readonly CompiledService[]): ForwardingTable => aTable(services, hostTable());
const web = (backends: readonly Host[], more: Partial<Frontend> = {}, weights: readonly number[] = []): CompiledService =>
  aCompiled([aFrontend({ backends: backends.map(({ ip }, i) => aBackend(ip, 8080, { weight: weights[i] ?? 1 })), ...more })]);
const change = (previous: CompiledService | undefined, next: CompiledService | undefined): ServiceChange => ({
  key: (next ?? previous)?.key ?? "",
  previous,
  next,
});

test("an endpoint that comes and one that goes are seen by the next connection", async () => {
  const { driver } = driverFor(a);
  expect(await driver.probe(signal)).toMatchObject({ usable: true });
  expect(await listed(a, "ours")).toBe(""); // it only looked
  await driver.sync(tableOf(web([b])), signal);
  expect((await askHttp(a, VIP)).answers).toEqual({ b: 1 });
  await driver.update([change(web([b]), web([c]))], signal);
  expect((await askHttp(a, VIP)).answers).toEqual({ c: 1 });
  await driver.update([change(web([c]), web([]))], signal);
  expect((await askHttp(a, VIP)).failures).toEqual({ ECONNREFUSED: 1 });
  await driver.update([change(web([]), web([b]))], signal);
  expect((await askHttp(a, VIP)).answers).toEqual({ b: 1 });
  expect((await askHttp(a, "10.96.9.9")).failures).toEqual({ ECONNREFUSED: 1 });
  expect((await a.run("ping", ["-c1", "-W2", VIP], { reject: false })).exitCode).toBe(0);
  expect((await fleet.host("h1c1").run("ping", ["-c1", "-W2", VIP], { reject: false })).exitCode).toBe(0);
});

test("the same over IPv6, with its own table", async () => {
  const { driver } = driverFor(a, "IPv6");
  onTestFinished(async () => {
    await driver.cleanup({ dryRun: false }, signal);
  });
  const host = aHostTable({ serviceCidrs: ["fd00:10:96::/112"], nodeIps: [a.ip6] });
  const service = (backends: readonly Host[], affinitySeconds?: number) =>
    aCompiled([
      aFrontend({ family: "IPv6", address: "fd00:10:96::a", affinitySeconds, backends: backends.map(({ ip6 }) => aBackend(ip6)) }),
    ]);
  await driver.sync(aTable([service([b])], host), signal);
  expect((await askHttp(a, "[fd00:10:96::a]")).answers).toEqual({ b: 1 });
  await driver.update([change(service([b]), service([b, c], 600))], signal);
  const [first = ""] = Object.keys((await askHttp(a, "[fd00:10:96::a]")).answers);
  expect((await askHttp(a, "[fd00:10:96::a]", { requests: 20 })).answers).toEqual({ [first]: 20 });
  expect((await askHttp(a, "[fd00:10:96::b]")).failures).toEqual({ ECONNREFUSED: 1 });
  expect((await a.run("ping", ["-6", "-c1", "-W2", "fd00:10:96::a"], { reject: false })).exitCode).toBe(0);
});

test("a client with affinity stays through changes of others and a restart, and is free when its endpoint goes or its time is over", async () => {
  const { driver } = driverFor(a);
  const sticky = (backends: readonly Host[], affinitySeconds = 600) => web(backends, { affinitySeconds });
  await driver.sync(tableOf(sticky([b, c])), signal);
  const [first = ""] = Object.keys((await askHttp(a, VIP)).answers);
  expect((await askHttp(a, VIP, { requests: 30 })).answers).toEqual({ [first]: 30 });
  const api = aCompiled([aFrontend({ id: "default/api", address: "10.96.0.11", backends: [aBackend(b.ip)] })], "default/api");
  await driver.update([change(undefined, api)], signal);
  const restarted = driverFor(a).driver;
  await restarted.sync(tableOf(sticky([b, c]), api), signal);
  expect((await askHttp(a, VIP, { requests: 30 })).answers).toEqual({ [first]: 30 });

  const [mine, other] = first === "b" ? [b, c] : [c, b];
  await restarted.update([change(sticky([b, c]), sticky([other]))], signal);
  expect(Object.keys((await askHttp(a, VIP, { requests: 5 })).answers)).not.toContain(first);
  await restarted.update([change(sticky([other]), sticky([mine, other]))], signal);
  expect(Object.keys((await askHttp(a, VIP, { requests: 5 })).answers)).not.toContain(first);

  await restarted.update([change(sticky([b, c]), sticky([b, c], 1))], signal);
  const seen = new Set<string>();
  await waitFor(
    async () => {
      for (const who of Object.keys((await askHttp(a, VIP)).answers)) seen.add(who);
      return seen.size === 2;
    },
    { what: "both endpoints to be chosen once affinity of a second has run out", timeoutMs: 40_000, intervalMs: 1_200 },
  );
});

test("what a client with affinity sends has the priority that it had before", async () => {
  const { driver } = driverFor(a);
  await a.run("nft", ["-f", "-"], {
    input: `table ip seen {
  chain before {
    type filter hook output priority -120;
    ip daddr ${VIP} meta priority set 0x12340006
  }
  chain after {
    type filter hook postrouting priority 110;
    ip daddr { ${b.ip}, ${c.ip} } ct state new meta priority != 0x12340006 drop
  }
}
`,
  });
  onTestFinished(async () => {
    await a.run("nft", ["delete", "table", "ip", "seen"]);
  });
  await driver.sync(tableOf(web([b, c], { affinitySeconds: 60 })), signal);
  for (let i = 0; i < 3; i++) expect((await askHttp(a, VIP)).failures).toEqual({});
});

test("connections are shared by weight", async () => {
  const { driver } = driverFor(a);
  await driver.sync(tableOf(web([b, c], {}, [1, 3])), signal);
  let [asked, toC] = [0, 0];
  for (let i = 0; i < 10; i++) {
    const { answers, failures } = await askHttp(a, VIP, { requests: 2_000 });
    expect(failures).toEqual({});
    asked += 2_000;
    toC += answers["c"] ?? 0;
  }
  expect(Math.abs(toC / asked - 0.75)).toBeLessThan(0.02 * 0.75);
}, 600_000);

test("a source outside the ranges is dropped, one within them is served, and the range holds for all that comes", async () => {
  const { driver } = driverFor(a);
  const lb = (sourceRanges: readonly string[] | undefined) =>
    aCompiled([aFrontend({ scope: "loadBalancer", address: "203.0.113.5", sourceRanges, backends: [aBackend(b.ip), aBackend(c.ip)] })]);
  await driver.sync(tableOf(lb(["10.200.1.0/24"])), signal);
  const container = fleet.host("h1c1");
  expect(Object.keys((await askHttp(container, "203.0.113.5")).answers)).toHaveLength(1);
  expect(Object.keys((await askHttp(a, "203.0.113.5", { timeoutMs: 700 })).answers)).toEqual([]);
  await driver.update([change(lb(["10.200.1.0/24"]), lb([`${a.ip}/32`]))], signal);
  expect(Object.keys((await askHttp(a, "203.0.113.5")).answers)).toHaveLength(1);
  expect(Object.keys((await askHttp(container, "203.0.113.5", { timeoutMs: 700 })).answers)).toEqual([]);
});

test("random histories end in what one sync of the last state makes, as the kernel lists it; rules of others stay byte for byte", async () => {
  await a.run("iptables-nft-restore", ["--noflush"], { input: FOREIGN_IPTABLES });
  await a.run("nft", ["-f", "-"], { input: FOREIGN_NFT });
  onTestFinished(async () => {
    await a.run("nft", ["flush", "ruleset"]);
  });
  const before = await listed(a, "foreign");
  for (const family of ["IPv4", "IPv6"] as const) {
    const serviceCidrs = family === "IPv4" ? ["10.96.0.0/16"] : ["fd00:10:96::/112"];
    const table = (services: Iterable<CompiledService>) => aTable([...services], aHostTable({ serviceCidrs, nodeIps: [] }));
    const { driver } = driverFor(a, family);
    for (const history of fc.sample(anyHistory(family), { numRuns: 15, seed: 20_261_121 })) {
      await driver.sync(table([]), signal);
      const services = new Map<string, CompiledService>();
      for (const batch of history) {
        await driver.update(
          batch.map(({ key, next }) => ({ key, previous: services.get(key), next })),
          signal,
        );
        for (const { key, next } of batch)
          if (next) services.set(key, next);
          else services.delete(key);
      }
      await driver.sync(table(services.values()), signal); // leaves chains that can go
      const fresh = nftablesOn(a, family);
      const held = ordered(await listed(a, "ours"));
      await fresh.driver.cleanup({ dryRun: false }, signal);
      await fresh.driver.sync(table(services.values()), signal);
      expect(held).toBe(ordered(await listed(a, "ours")));
      fresh.driver.close();
    }
    expect(await driver.cleanup({ dryRun: true }, signal)).toContain(`nft table ${family === "IPv4" ? "ip" : "ip6"} fairlead`);
    await driver.cleanup({ dryRun: false }, signal);
    expect(await driver.cleanup({ dryRun: true }, signal)).toEqual([]);
    expect(await listed(a, "ours")).toBe("");
    expect(await listed(a, "foreign")).toBe(before);
  }
}, 600_000);

/** Lines of a listing in one order, without chains and maps that are empty. */
function ordered(listing: string): string {
  return listing
    .replaceAll(
      /^\t(?:map|chain|set) (?:\w*slot_\d+|\w*backends_\d+|\w*pick_\w+|\w*stick_\w+|\w*recall_\d+|from_\w+) \{\n(?:\t\ttype [^\n]*\n)?\t\}\n/gm,
      "",
    )
    .split(/[\n,]/)
    .map((line) => line.replaceAll(/^\s*(?:elements = \{)?\s*|\s*\}?\s*$/g, ""))
    .filter((line) => line !== "")
    .toSorted()
    .join("\n");
}

/** The real loop around the real driver, which has written one table. */
async function aRunningLoop(machine: Host, table: ForwardingTable) {
  const { driver } = driverFor(machine);
  const end = new AbortController();
  const mailbox = createTableMailbox();
  const applied: number[] = [];
  const drifts: (readonly string[])[] = [];
  const errors: object[] = [];
  const log = { info: () => undefined, warn: () => undefined, error: (fields: object) => errors.push(fields) };
  const told = {
    onApplied: (revision: number) => applied.push(revision),
    onDrift: (missing: readonly string[]) => drifts.push(missing),
  };
  const running = dataplaneLoop({ driver, mailbox, verifyIntervalMs: () => 150, log, ...told }, end.signal);
  onTestFinished(async () => {
    end.abort();
    await running;
  });
  mailbox.put({ revision: 7, table, changes: [] });
  await waitFor(() => applied.includes(7), { what: "the first sync" });
  return { drifts, errors };
}

const damages: readonly (readonly [string, readonly string[]])[] = [
  ["a flush of the whole rule set", ["flush", "ruleset"]],
  ["our table deleted", ["delete", "table", "ip", "fairlead"]],
  ["our table flushed of its rules", ["flush", "table", "ip", "fairlead"]],
  ["one chain flushed", ["flush", "chain", "ip", "fairlead", "pick_1"]],
  ["one element deleted", ["delete", "element", "ip", "fairlead", "services", `{ ${VIP} . tcp . 80 }`]],
  ["one map flushed", ["flush", "map", "ip", "fairlead", "backends_0"]],
  ["a rule of somebody's in our chain", ["insert", "rule", "ip", "fairlead", "nat_output", "accept"]],
];

test.for(damages)("%s is repaired within a second, and said", async ([, command]) => {
  const { drifts, errors } = await aRunningLoop(
    a,
    tableOf(web([b]), aCompiled([aFrontend({ id: "default/none", address: "10.96.3.3" })], "default/none")),
  );
  const wanted = ordered(await listed(a, "ours"));
  await waitFor(() => a.run("pgrep", ["-f", "^nft -n monitor"]), { what: "the monitor" });
  await a.run("nft", command);
  const damagedAt = performance.now();
  const repairedAt = await waitFor(async () => (drifts.length > 0 && ordered(await listed(a, "ours")) === wanted ? performance.now() : undefined), { what: "the repair" }); // prettier-ignore
  expect(repairedAt - damagedAt).toBeLessThan(1_000);
  expect(drifts[0]?.join()).toMatch(/ip fairlead/);
  expect((await askHttp(a, VIP)).answers).toEqual({ b: 1 });
  expect(errors).toEqual([]);
});

test("when the monitor is killed, another one listens, and damage is still seen", async () => {
  const { drifts } = await aRunningLoop(a, tableOf(web([b])));
  const monitors = async () => (await a.run("pgrep", ["-f", "^nft -n monitor"], { reject: false })).stdout.split("\n").filter(Boolean);
  const [first = ""] = await waitFor(async () => ((await monitors()).length > 0 ? await monitors() : undefined), { what: "the monitor" });
  process.kill(Number(first), "SIGKILL");
  await waitFor(async () => (await monitors()).some((pid) => pid !== first), { what: "another monitor" });
  expect(drifts).toEqual([]);
  await a.run("nft", ["delete", "element", "ip", "fairlead", "services", `{ ${VIP} . tcp . 80 }`]);
  await waitFor(() => drifts.length > 0, { what: "the drift to be told", timeoutMs: 10_000 });
});
