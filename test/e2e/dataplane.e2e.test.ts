import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { Backend, CompiledService, Frontend, ServiceChange } from "#agent/compile/table.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { restore } from "#agent/dataplane/iptables/apply.ts";
import { wordsOf } from "#agent/dataplane/iptables/words.ts";
import { dataplaneLoop } from "#agent/dataplane/loop.ts";
import { createTableMailbox } from "#agent/dataplane/mailbox.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { askHttp, askUdp, driverOn, saved, tableOf } from "./dataplane-rig.ts";

/** What the driver does to a kernel over time: changes, restarts, damage, neighbours' rules, and the way out. */

const signal = new AbortController().signal;
const VIP = "10.96.0.10";
const backendAt = (ip: string, port?: number): Backend => aBackend(ip, port, { isLocal: ip.startsWith("10.200.1.") });

describe.for(["nft", "legacy"] as const)("iptables-%s", (kind) => {
  let fleet: Fleet<readonly [Host, Host, Host]>;
  let a: Host;
  let b: Host;
  let c: Host;

  beforeAll(async () => {
    fleet = await createFleet({ hosts: 3, containersPerHost: 1, containerNetwork: "routed", backend: kind });
    [a, b, c] = fleet.hosts;
    for (const [machine, id] of [
      [b, "b"],
      [c, "c"],
      [fleet.host("h1c1"), "c1"],
    ] as const) {
      const http = await machine.spawn("node", ["test/fleet/http-echo.ts", "--id", id, "--listen", `${machine.ip}:8080`]);
      const udp = await machine.spawn("node", ["test/fleet/udp-echo.ts", "--id", id, "--listen", `${machine.ip}:5353`]);
      await http.waitForLine(/^listening/);
      await udp.waitForLine(/^listening/);
    }
  });
  afterAll(() => fleet[Symbol.asyncDispose]());
  beforeEach(async () => {
    await driverOn(a, kind).driver.cleanup({ dryRun: false }, signal);
  });

  const web = (backends: readonly Host[], more: Partial<Frontend> = {}): CompiledService =>
    aCompiled([aFrontend({ backends: backends.map(({ ip }) => backendAt(ip)), ...more })]);
  const log = (backends: readonly Host[]): CompiledService =>
    aCompiled(
      [aFrontend({ backends: backends.map(({ ip }) => backendAt(ip, 5353)), id: "default/log", protocol: "UDP", port: 53 })],
      "default/log",
    );
  const change = (previous: CompiledService | undefined, next: CompiledService | undefined): ServiceChange => ({
    key: (next ?? previous)?.key ?? "",
    previous,
    next,
  });

  test("an endpoint that comes and one that goes are seen by the next connection", async () => {
    const { driver } = driverOn(a, kind);
    await driver.sync(tableOf([web([b])]), signal);
    expect((await askHttp(a, VIP)).answers).toEqual({ b: 1 });
    await driver.update([change(web([b]), web([c]))], signal);
    expect((await askHttp(a, VIP)).answers).toEqual({ c: 1 });
    await driver.update([change(web([c]), web([]))], signal);
    expect((await askHttp(a, VIP)).failures).toEqual({ ECONNREFUSED: 1 });
    await driver.update([change(web([]), web([b]))], signal);
    expect((await askHttp(a, VIP)).answers).toEqual({ b: 1 });
  });

  test("rules that others write while the next restore waits for its input stay, and hold nothing up", async () => {
    const { driver } = driverOn(a, kind);
    onTestFinished(() => driver.close());
    await driver.sync(tableOf([web([b])]), signal);
    const waiting = async () => (await a.run("pgrep", ["-f", `^iptables-${kind}-restore --noflush`], { reject: false })).exitCode === 0;
    await waitFor(waiting, { what: "the next restore to wait" });
    const rule = ["POSTROUTING", "-s", "192.0.2.0/24", "-j", "RETURN"];
    await a.run(`iptables-${kind}`, ["-t", "nat", "-A", ...rule]);
    await driver.update([change(web([b]), web([c]))], signal);
    expect((await askHttp(a, VIP)).answers).toEqual({ c: 1 });
    await a.run(`iptables-${kind}`, ["-t", "nat", "-D", ...rule]); // fails where it is not there any more
  });

  test("a client with affinity stays through changes of others and a restart, and is free when its endpoint goes or its time is over", async () => {
    const { driver } = driverOn(a, kind);
    const sticky = (backends: readonly Host[], affinitySeconds = 600) => web(backends, { affinitySeconds });
    await driver.sync(tableOf([sticky([b, c])]), signal);
    const [first = ""] = Object.keys((await askHttp(a, VIP)).answers);
    expect((await askHttp(a, VIP, { requests: 30 })).answers).toEqual({ [first]: 30 });
    const api = aCompiled([aFrontend({ backends: [backendAt(b.ip)], id: "default/api", address: "10.96.0.11" })], "default/api");
    await driver.update([change(undefined, api)], signal);
    const restarted = driverOn(a, kind).driver;
    await restarted.sync(tableOf([sticky([b, c]), api]), signal);
    expect((await askHttp(a, VIP, { requests: 30 })).answers).toEqual({ [first]: 30 });

    const [mine, other] = first === "b" ? [b, c] : [c, b];
    await restarted.update([change(sticky([b, c]), sticky([other]))], signal);
    expect(Object.keys((await askHttp(a, VIP, { requests: 5 })).answers)).not.toContain(first);
    await restarted.update([change(sticky([other]), sticky([mine, other].toSorted((x, y) => (x.ip < y.ip ? -1 : 1))))], signal);
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

  test("a restart of the agent disturbs neither an open connection nor a new one, and its jumps stand there once", async () => {
    await driverOn(a, kind).driver.sync(tableOf([web([b, c])]), signal);
    await using stream = await a.spawn("curl", ["-sSN", `http://${VIP}/stream`]);
    await stream.waitForLine(/ 2$/);
    const asking = askHttp(a, VIP, { requests: 300, everyMs: 5 });
    for (let i = 0; i < 10; i++) await driverOn(a, kind).driver.sync(tableOf([web(i % 2 === 0 ? [b, c] : [c])]), signal);
    expect((await asking).failures).toEqual({});
    const lines = Number(/(\d+)\s*$/.exec(await stream.output())?.[1]);
    await stream.waitForLine(new RegExp(` ${lines + 3}$`));
    const { stdout } = await a.run(`iptables-${kind}`, ["-t", "nat", "-S", "PREROUTING"]);
    const jumps = stdout.split("\n").filter((line) => line.includes("-j FL-SERVICES"));
    expect(jumps).toHaveLength(2); // the jump, and its spare
    expect(new Set(jumps).size).toBe(2);
  });

  test("changes that replace every endpoint let no connection fail", async () => {
    const { driver } = driverOn(a, kind);
    await driver.sync(tableOf([web([b])]), signal);
    const asking = askHttp(a, VIP, { requests: 300, everyMs: 3 });
    for (let i = 0; i < 20; i++) await driver.update([i % 2 === 0 ? change(web([b]), web([c])) : change(web([c]), web([b]))], signal);
    expect((await asking).failures).toEqual({});
  });

  describe("somebody else's hand", () => {
    const damages: readonly (readonly [string, (machine: Host) => Promise<unknown>])[] = [
      ["a flush of nat", (machine) => machine.run(`iptables-${kind}`, ["-t", "nat", "-F"])],
      [
        "a flush of the chain that all services go through",
        (machine) => machine.run(`iptables-${kind}`, ["-t", "nat", "-F", "FL-SERVICES"]),
      ],
      ["a flush of the masquerade rules", (machine) => machine.run(`iptables-${kind}`, ["-t", "nat", "-F", "FL-POSTROUTING"])],
      ["a flush of filter", (machine) => machine.run(`iptables-${kind}`, ["-t", "filter", "-F"])],
      [
        "a flush and removal of all chains",
        async (machine) => {
          await machine.run(`iptables-${kind}`, ["-t", "nat", "-F"]);
          await machine.run(`iptables-${kind}`, ["-t", "nat", "-X"]);
        },
      ],
      ["one jump deleted", (machine) => machine.run(`iptables-${kind}`, ["-t", "nat", "-D", "OUTPUT", "2"])],
      [
        "one jump deleted, and its spare",
        async (machine) => {
          for (let times = 0; times < 2; times++) await machine.run(`iptables-${kind}`, ["-t", "nat", "-D", "OUTPUT", "1"]);
        },
      ],
      [
        "an older rule set restored from a file",
        async (machine) => {
          const { stdout } = await machine.run(`iptables-${kind}-save`, ["-t", "nat"]);
          const older = stdout.split("\n").map((line) => line.replace(/(--name FL-nat-[a-z0-9]+-\d+-)\d+/, "$1" + "0").replaceAll(b.ip, c.ip)); // prettier-ignore
          await machine.run(`iptables-${kind}-restore`, [], { input: older.join("\n") });
        },
      ],
    ];

    /** The real loop around the real driver, which has written one table. */
    async function aRunningLoop() {
      const { driver } = driverOn(a, kind);
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
      const running = dataplaneLoop({ driver, mailbox, verifyIntervalMs: () => 300, log, ...told }, end.signal);
      onTestFinished(async () => {
        end.abort();
        await running;
      });
      const none = aCompiled([aFrontend({ id: "default/none", address: "10.96.3.3" })], "default/none");
      mailbox.put({ revision: 7, table: tableOf([web([b]), none]), changes: [] });
      await waitFor(() => applied.includes(7), { what: "the first sync" });
      return { drifts, errors };
    }

    test.for(damages)("%s is repaired within a second, and said", async ([, damage]) => {
      const { drifts, errors } = await aRunningLoop();
      const wanted = sorted(await saved(a, kind, "ours"));
      await damage(a);
      const damagedAt = performance.now();
      const isRepaired = async () => (sorted(await saved(a, kind, "ours")) === wanted ? performance.now() : undefined);
      expect((await waitFor(isRepaired, { what: "the repair" })) - damagedAt).toBeLessThan(1_000);
      await waitFor(() => drifts.length > 0, { what: "the drift to be told" });
      expect(drifts[0]?.join()).toMatch(/nat|filter/);
      expect((await askHttp(a, VIP)).answers).toEqual({ b: 1 });
      expect(errors).toEqual([]);
    });

    test("a jump that has a spare is missed by no connection, and comes back", async () => {
      const { drifts } = await aRunningLoop();
      await a.run(`iptables-${kind}`, ["-t", "nat", "-D", "OUTPUT", "1"]);
      expect((await askHttp(a, VIP, { requests: 10 })).answers).toEqual({ b: 10 });
      await waitFor(() => drifts.length > 0, { what: "the drift to be told", timeoutMs: 30_000, intervalMs: 200 });
      expect(drifts[0]).toEqual(["nat OUTPUT: one of our jumps"]);
    });

    test("a rule that another program puts before ours is found by the slower look, and stands behind them then", async () => {
      const { drifts } = await aRunningLoop();
      const rule = ["FORWARD", "-s", "192.0.2.0/24", "-j", "DROP"];
      await a.run(`iptables-${kind}`, ["-I", ...rule]);
      onTestFinished(async () => {
        await a.run(`iptables-${kind}`, ["-D", ...rule]);
      });
      await waitFor(() => drifts.length > 0, { what: "the drift to be told", timeoutMs: 30_000, intervalMs: 200 });
      expect(drifts[0]).toEqual(["filter FORWARD: our jumps are not first any more"]);
      const order = async () =>
        (await a.run(`iptables-${kind}`, ["-S", "FORWARD"])).stdout.split("\n").map((line) => line.split(" ").at(-1));
      await waitFor(async () => (await order()).join() === "ACCEPT,FL-OURS,FL-REJECTS,DROP", { what: "our jumps to be first" });
    });
  });

  describe("UDP", () => {
    test("a client that keeps its socket moves when its endpoint goes, and when the first one comes", async () => {
      const { driver } = driverOn(a, kind);
      await driver.sync(tableOf([log([])]), signal);
      await using client = await a.spawn("node", [
        "test/fleet/udp-ask.ts",
        "--to",
        `${VIP}:53`,
        "--count",
        "1000",
        "--same-socket",
        "--every-ms",
        "20",
        "--timeout-ms",
        "200",
      ]);
      await client.waitForLine(/ECONNREFUSED|timeout/);
      await driver.update([change(log([]), log([b]))], signal);
      await client.waitForLine(/^b /);
      await driver.update([change(log([b]), log([c]))], signal);
      await client.waitForLine(/^c /);
    });

    test("a flow that began before the service existed reaches it once it does", async () => {
      const { driver } = driverOn(a, kind);
      await driver.sync(tableOf([]), signal);
      await using client = await a.spawn("node", [
        "test/fleet/udp-ask.ts",
        "--to",
        `${VIP}:53`,
        "--count",
        "1000",
        "--same-socket",
        "--every-ms",
        "20",
        "--timeout-ms",
        "200",
      ]);
      await client.waitForLine(/timeout|E[A-Z]+/);
      await driver.update([change(undefined, log([b]))], signal);
      await client.waitForLine(/^b /);
    });

    test("an endpoint that still serves keeps its flows while new ones go elsewhere", async () => {
      const { driver } = driverOn(a, kind);
      await driver.sync(tableOf([log([b])]), signal);
      await using client = await a.spawn("node", [
        "test/fleet/udp-ask.ts",
        "--to",
        `${VIP}:53`,
        "--count",
        "1000",
        "--same-socket",
        "--every-ms",
        "20",
      ]);
      await client.waitForLine(/^b /);
      const [frontend] = log([c]).frontends;
      const leaving = aCompiled(frontend ? [{ ...frontend, draining: [{ address: b.ip, port: 5353 }] }] : [], "default/log");
      await driver.update([change(log([b]), leaving)], signal);
      expect(await askUdp(a, `${VIP}:53`)).toMatch(/^c /);
      const flowing = (await client.output()).split("\n").length;
      await waitFor(async () => (await client.output()).split("\n").length > flowing + 5, { what: "more answers" });
      expect(await client.output()).not.toMatch(/^c /m);
      await driver.update([change(leaving, log([c]))], signal);
      await client.waitForLine(/^c /);
    });

    test("after a restart, flows to endpoints that went meanwhile move too, and those of a service that went end", async () => {
      await driverOn(a, kind).driver.sync(tableOf([log([b])]), signal);
      await using client = await a.spawn("node", [
        "test/fleet/udp-ask.ts",
        "--to",
        `${VIP}:53`,
        "--count",
        "1000",
        "--same-socket",
        "--every-ms",
        "20",
      ]);
      await client.waitForLine(/^b /);
      await driverOn(a, kind).driver.sync(tableOf([log([c])]), signal);
      await client.waitForLine(/^c /);
      await driverOn(a, kind).driver.sync(tableOf([]), signal);
      await client.waitForLine(/^ECONNREFUSED/);
    });
  });

  test("a FORWARD policy of DROP, as Docker sets it, does not stop what goes through a virtual IP, and nothing else passes", async () => {
    await a.run(`iptables-${kind}`, ["-P", "FORWARD", "DROP"]);
    onTestFinished(async () => {
      await a.run(`iptables-${kind}`, ["-P", "FORWARD", "ACCEPT"]);
    });
    await fleet.out.run("ip", ["route", "replace", "10.96.0.0/16", "via", a.ip]);
    await fleet.out.run("ip", ["route", "replace", "10.200.1.0/24", "via", a.ip]);
    const { driver } = driverOn(a, kind);
    await driver.sync(tableOf([web([fleet.host("h1c1")])]), signal);
    expect((await askHttp(fleet.out, VIP)).answers).toEqual({ c1: 1 });
    expect((await askHttp(fleet.out, `${fleet.host("h1c1").ip}:8080`, { timeoutMs: 500 })).failures).toEqual({ timeout: 1 });
  });

  test("a host whose default route leaves by another interface than its endpoints gets answers (Vagrant)", async () => {
    await a.run("ip", ["link", "add", "nat0", "type", "bridge"]);
    onTestFinished(async () => {
      await a.run("ip", ["link", "del", "nat0"]);
      await a.run("ip", ["route", "replace", "default", "via", "172.30.255.254"]);
    });
    await a.run("ip", ["addr", "add", "10.0.2.15/24", "dev", "nat0"]);
    await a.run("ip", ["link", "set", "nat0", "up"]);
    await a.run("ip", ["route", "replace", "default", "via", "10.0.2.2", "dev", "nat0"]);
    await driverOn(a, kind).driver.sync(tableOf([web([b])]), signal);
    const { stdout } = await a.run("curl", ["-sS", "-m", "3", `http://${VIP}/`]);
    expect(stdout).toBe(`b ${a.ip}`);
  });

  test("the driver takes the iptables that the host's rules are in, and cleans up after itself in the other", async () => {
    const other = kind === "nft" ? "legacy" : "nft";
    await driverOn(a, other).driver.sync(tableOf([web([c])]), signal);
    const rule = ["-s", "192.0.2.9/32", "-j", "DROP"];
    await a.run(`iptables-${kind}`, ["-A", "INPUT", ...rule]);
    onTestFinished(async () => {
      await a.run(`iptables-${kind}`, ["-D", "INPUT", ...rule]);
    });
    const { driver } = driverOn(a);
    expect(await driver.probe(signal)).toMatchObject({ usable: true, detail: expect.stringMatching(`^iptables-${kind}: `) as string });
    await driver.sync(tableOf([web([b])]), signal);
    expect((await askHttp(a, VIP, { requests: 10 })).answers).toEqual({ b: 10 });
    expect(await saved(a, other, "ours")).not.toContain("FL-");
    expect(await saved(a, kind, "ours")).toContain("FL-");
  });

  test("cleanup says what it would remove, removes exactly that, and finds nothing the second time", async () => {
    const { driver } = driverOn(a, kind);
    await driver.sync(tableOf([web([b], { affinitySeconds: 60 })]), signal);
    const held = await saved(a, kind);
    const announced = await driver.cleanup({ dryRun: true }, signal);
    expect(announced).toContain(`iptables-${kind} nat chain FL-SERVICES`);
    expect(await saved(a, kind)).toBe(held);
    expect(await driverOn(a, kind).driver.cleanup({ dryRun: false }, signal)).toEqual(announced);
    expect(await saved(a, kind)).not.toContain("FL-");
    expect((await a.run("ls", ["/proc/net/xt_recent"], { reject: false })).stdout).toBe("");
    expect(await driver.cleanup({ dryRun: false }, signal)).toEqual([]);
  });

  test("what the kernel refuses is an error that names the line, and the rules that were there stay", async () => {
    const { driver } = driverOn(a, kind);
    await driver.sync(tableOf([web([b])]), signal);
    const held = await saved(a, kind);
    const tools = openKernelTools({ enter: a.enter });
    const bad = "*nat\n:FL-SERVICES - [0:0]\n-A FL-SERVICES -d 10.96.0.1/32 -j FL-MISSING\nCOMMIT\n";
    await expect(restore(tools, { kind, words: wordsOf("IPv4") }, bad)).rejects.toThrow(/iptables-(nft|legacy)-restore .*FL-MISSING/s);
    expect(await saved(a, kind)).toBe(held);
  });
});

/** iptables-legacy keeps chains in the order in which they came. */
function sorted(text: string): string {
  const chains = text.split("\n").filter((line) => line.startsWith(":"));
  const rules = text.split("\n").filter((line) => !line.startsWith(":"));
  const ofChain = (line: string): string => line.split(" ")[1] ?? "";
  return [...chains.toSorted(), ...rules.toSorted((x, y) => (ofChain(x) < ofChain(y) ? -1 : ofChain(x) > ofChain(y) ? 1 : 0))].join("\n");
}
