import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { IpFamily } from "#proto/ip.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { openInspector } from "#agent/dataplane/iptables/inspect.ts";
import { planSync, rulesOf } from "#agent/dataplane/iptables/plan.ts";
import { list, restore } from "#agent/dataplane/iptables/apply.ts";
import { wordsOf } from "#agent/dataplane/iptables/words.ts";
import { wholeText } from "#agent/dataplane/tool-input.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import type { Ruleset } from "#test/packet/iptables-model.ts";
import { trace } from "#test/packet/iptables-tracer.ts";
import { waitFor } from "#test/wait-for.ts";
import { driverOn, procNetOf, saved } from "./dataplane-rig.ts";
import { aRandomHistory, aRandomService, randomBelow } from "./random-services.ts";

/** What the iptables driver does to a kernel, of both families and both kinds: many changes, damage in single rules, death in the middle. */

const signal = new AbortController().signal;
const hostTable = aHostTable({
  serviceCidrs: ["10.96.0.0/16", "fd10::/112"],
  nodeIps: ["172.30.0.1", "fd30::1"],
  localCidrs: ["10.200.1.0/24", "fd30:c:1::/64"],
});

const cases = (["nft", "legacy"] as const).flatMap((kind) => (["IPv4", "IPv6"] as const).map((family) => ({ kind, family })));

describe.for(cases)("$family, $kind", ({ kind, family }) => {
  const words = wordsOf(family);
  const { program } = words;
  let fleet: Fleet<readonly [Host]>;
  let a: Host;

  beforeAll(async () => {
    fleet = await createFleet({ hosts: 1, backend: kind });
    [a] = fleet.hosts;
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  const save = (which: "all" | "foreign" | "ours"): Promise<string> => saved(a, kind, which, program);
  const inspector = () =>
    openInspector({ tools: openKernelTools({ enter: a.enter }), kind, words, procNet: procNetOf(a), everythingEveryMs: 0 });

  test("1,000 random changes end in what one sync of the last table makes, it reads as it was written, and rules of others stay byte for byte", async () => {
    await a.run(`${program}-${kind}-restore`, ["--noflush"], { input: foreignRules(family) });
    onTestFinished(async () => {
      for (const table of ["nat", "filter", "mangle"])
        for (const verb of ["-F", "-X"]) await a.run(`${program}-${kind}`, ["-t", table, verb]);
    });
    const before = await save("all");
    const { driver } = driverOn(a, kind, family);
    onTestFinished(() => driver.close());
    await driver.sync(aTable([], hostTable), signal);
    const { batches, services } = aRandomHistory(family, { seed: 20_261_121, places: 60, changes: 1_000 });
    let changed = 0;
    for (const changes of batches) {
      await driver.update(changes, signal);
      changed += changes.length;
      if (changed % 10 === 0) expect(await save("foreign")).toBe(before);
    }
    const updated = await save("ours");
    expect(services.size).toBeGreaterThan(20);
    const restarted = driverOn(a, kind, family).driver;
    await restarted.sync(aTable([...services.values()], hostTable), signal);
    expect(sorted(await save("ours"))).toBe(sorted(updated));
    expect(await save("foreign")).toBe(before);

    const rules = rulesOf(aTable([...services.values()], hostTable), { family });
    const tools = openKernelTools({ enter: a.enter });
    const target = { kind, words };
    const listings = { nat: await list(tools, target, "nat", signal), filter: await list(tools, target, "filter", signal) };
    await restore(tools, target, planSync(rules, listings, "read-back"));
    expect(await inspector().inspect([rules.nat, rules.filter], signal)).toEqual([]);

    expect(await driver.cleanup({ dryRun: false }, signal)).not.toEqual([]);
    expect(await save("all")).toBe(before);
  });

  test("one rule that somebody replaced, in the chain of a few services, is found by the slow look", async () => {
    const backend = family === "IPv4" ? aBackend("172.30.0.2") : aBackend("fd30::2");
    const address = family === "IPv4" ? "10.96.0.10" : "fd10::10";
    const web = aCompiled([aFrontend({ family, address, affinitySeconds: 60, backends: [backend] })]);
    const { driver } = driverOn(a, kind, family);
    onTestFinished(async () => {
      driver.close();
      await driver.cleanup({ dryRun: false }, signal);
    });
    await driver.sync(aTable([web], hostTable), signal);
    expect(await driver.verify(signal)).toEqual({ intact: true });
    const chain = `FL-TCP-${address}-80`;
    const to = family === "IPv4" ? "172.30.0.3:8080" : "[fd30::3]:8080";
    await a.run(`${program}-${kind}`, ["-t", "nat", "-R", chain, "2", "-p", "tcp", "-j", "DNAT", "--to-destination", to]);
    const drift = async () => {
      const found = await driver.verify(signal);
      return found.intact ? undefined : found.missing;
    };
    const missing = await waitFor(drift, { what: "the slow look", timeoutMs: 20_000, intervalMs: 200 });
    expect(missing).toEqual([`nat chain ${chain}: other rules than ours`]);
  });

  test("a flush of any chain that services share, and of a whole table, is seen by the look that costs nothing", async () => {
    const { driver } = driverOn(a, kind, family);
    onTestFinished(async () => {
      driver.close();
      await driver.cleanup({ dryRun: false }, signal);
    });
    const below = randomBelow(3);
    const empty = aCompiled([aFrontend({ family, scope: "nodePort", address: "", port: 31_111 })], "default/empty");
    const table = aTable([empty, ...Array.from({ length: 30 }, (_, n) => aRandomService(n, family, below))], hostTable);
    await driver.sync(table, signal);
    const shared = ["SERVICES", "EXTERNAL", "NODE-PORTS", "OURS", "POSTROUTING"].map((chain) => ["nat", `FL-${chain}`]);
    const refusing = ["REJECTS", "EXTERNAL", "NODE-PORTS", "OURS", "UNDELIVERED"].map((chain) => ["filter", `FL-${chain}`]);
    for (const [of = "", ...chain] of [...shared, ...refusing, ["nat"], ["filter"], ["nat", "OUTPUT"], ["filter", "INPUT"]]) {
      await a.run(`${program}-${kind}`, ["-t", of, "-F", ...chain]);
      const drift = await driver.verify(signal);
      expect(drift, [of, ...chain].join(" ")).toMatchObject({ intact: false });
      await driver.sync(table, signal);
    }
    expect(await driver.verify(signal)).toEqual({ intact: true });
  });

  test("an agent that is killed while it writes leaves whole tables, in which no source range is open, and the next one makes them right", async () => {
    const below = randomBelow(7);
    const range = family === "IPv4" ? "198.51.100.0/24" : "2001:db8:ffff::/48";
    const tableOf = (round: number) =>
      aTable(
        Array.from({ length: 200 }, (_, n) => {
          const { frontends, ...rest } = aRandomService(n, family, randomBelow(round * 1_000 + n));
          const guarded = aFrontend({
            id: `default/s${n}:guarded`,
            family,
            scope: "loadBalancer",
            address: guardedAddress(family, n),
            sourceRanges: [range],
            backends: [aBackend(family === "IPv4" ? `172.30.2.${(n + round) % 200}` : `fd30::2:${(n + round) % 200}`)],
          });
          return { ...rest, frontends: [...frontends, guarded] };
        }),
        hostTable,
      );
    const tools = openKernelTools({ enter: a.enter });
    const target = { kind, words };
    const folder = await mkdtemp(join(tmpdir(), "fairlead-kill-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const stranger = { ...STRANGER[family], origin: "forwarded", protocol: "tcp", port: 80 } as const;
    let killed = 0;
    for (let round = 1; round <= 8; round++) {
      const rules = rulesOf(tableOf(round), { family });
      const listings = { nat: await list(tools, target, "nat", signal), filter: await list(tools, target, "filter", signal) };
      const text = wholeText(planSync(rules, listings, `kill-${round}`));
      // Every other time it is not the tool that dies but who writes to it: what it reads ends anywhere.
      const file = join(folder, `${round}.rules`);
      await writeFile(file, round % 2 === 0 ? text.slice(0, below(text.length)) : text);
      await using writer = await a.spawn(`${program}-${kind}-restore`, ["--noflush", "-w", "5", file]);
      if (round % 2 === 1) {
        await delay(below(80));
        killed += (await writer.kill()).signal === "SIGKILL" ? 1 : 0;
      } else await writer.ended;
      const ruleset = rulesetOf(await save("all"));
      for (let i = 0; i < 10; i++) {
        const address = guardedAddress(family, below(200));
        for (const { to } of trace(ruleset, { ...stranger, address }, { hostIps: hostTable.nodeIps })) expect([`${address}:80`, `[${address}]:80`, "DROP"]).toContain(to); // prettier-ignore
      }
    }
    expect(killed).toBeGreaterThan(0);
    const last = tableOf(99);
    const { driver } = driverOn(a, kind, family);
    onTestFinished(async () => {
      driver.close();
      await driver.cleanup({ dryRun: false }, signal);
    });
    await driver.sync(last, signal);
    const repaired = sorted(await save("ours"));
    await driver.cleanup({ dryRun: false }, signal);
    await driver.sync(last, signal);
    expect(repaired).toBe(sorted(await save("ours")));
  });
});

describe("legacy", () => {
  test("a lock that another program holds is waited for, then said, and nothing is lost", async () => {
    await using fleet = await createFleet({ hosts: 1, backend: "legacy" });
    const [a] = fleet.hosts;
    const { driver } = driverOn(a, "legacy");
    onTestFinished(() => driver.close());
    const web = aCompiled([aFrontend({ backends: [aBackend("172.30.0.2")] })]);
    await driver.sync(aTable([], hostTable), signal);
    const held = await saved(a, "legacy");
    const holder = await a.spawn("flock", ["--no-fork", "/run/xtables.lock", "sh", "-c", "echo locked; exec sleep 600"]);
    await holder.waitForLine(/^locked/);
    await expect(driver.update([{ key: web.key, previous: undefined, next: web }], signal)).rejects.toMatchObject({
      message: expect.stringMatching(/xtables lock/) as string,
      hint: "another program holds the lock of iptables; it is tried again",
    });
    await holder.kill();
    await waitFor(async () => (await a.run("flock", ["-n", "/run/xtables.lock", "true"], { reject: false })).exitCode === 0, { what: "the lock to be free" }); // prettier-ignore
    expect(await saved(a, "legacy")).toBe(held);
    await driver.sync(aTable([web], hostTable), signal);
    expect(await saved(a, "legacy", "ours")).toContain("-d 10.96.0.10/32 -p tcp");
  });
});

const STRANGER = { IPv4: { source: "192.0.2.200" }, IPv6: { source: "2001:db8:77::1" } };

function guardedAddress(family: IpFamily, n: number): string {
  return family === "IPv4" ? `203.0.114.${n}` : `2001:db8:9::${(n + 1).toString(16)}`;
}

function rulesetOf(saveText: string): Ruleset {
  const tables = new Map<string, Map<string, string[]>>();
  let chains = new Map<string, string[]>();
  for (const line of saveText.split("\n")) {
    if (line.startsWith("*")) {
      chains = new Map<string, string[]>();
      tables.set(line.slice(1), chains);
    }
    if (line.startsWith(":")) chains.set(line.slice(1).split(" ")[0] ?? "", []);
    else {
      const [, chain = "", rule = ""] = /^-A (\S+) ?(.*)$/.exec(line) ?? [];
      chains.get(chain)?.push(rule);
    }
  }
  return { tables };
}

/** iptables-legacy keeps chains in the order in which they came. */
function sorted(text: string): string {
  const chains = text.split("\n").filter((line) => line.startsWith(":"));
  const rules = text.split("\n").filter((line) => !line.startsWith(":"));
  const ofChain = (line: string): string => line.split(" ")[1] ?? "";
  return [...chains.toSorted(), ...rules.toSorted((x, y) => (ofChain(x) < ofChain(y) ? -1 : ofChain(x) > ofChain(y) ? 1 : 0))].join("\n");
}

/** As Docker, ufw and an operator write them; none may move or change. */
function foreignRules(family: IpFamily): string {
  const four = family === "IPv4";
  const [containers, one, somebody] = four
    ? ["172.17.0.0/16", "172.17.0.2:80", "192.0.2.0/24"]
    : ["fd17::/64", "[fd17::2]:80", "2001:db8:ee::/64"];
  return `*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d ${four ? "127.0.0.0/8" : "::1/128"} -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s ${containers} ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 9999 -j DNAT --to-destination ${one}
COMMIT
*filter
:DOCKER-USER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:ufw-before-forward - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -j ufw-before-forward
-A DOCKER-USER -s ${somebody} -j DROP
-A DOCKER-USER -j RETURN
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment "ufw says \\"hello\\" to FL-SERVICES" -j ACCEPT
-A INPUT -s ${somebody} -j DROP
COMMIT
*mangle
-A PREROUTING -s ${somebody} -j MARK --set-xmark 0x4000/0x4000
COMMIT
`;
}
