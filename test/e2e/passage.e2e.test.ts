import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { openPassage, type Passage } from "#agent/dataplane/iptables/passage.ts";
import { openRoutedGate } from "#agent/dataplane/iptables/routed.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aTable, fleetHost } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { askHttp, procNetOf, saved } from "./dataplane-rig.ts";

/** Somebody translates with nftables, and a policy of iptables drops what is forwarded: the passage lets ours through, and nothing else. */

const signal = new AbortController().signal;

describe.for(["nft", "legacy"] as const)("iptables-%s", (kind) => {
  let fleet: Fleet<readonly [Host]>;
  let a: Host;

  beforeAll(async () => {
    fleet = await createFleet({ hosts: 1, containersPerHost: 1, containerNetwork: "routed", backend: kind });
    [a] = fleet.hosts;
    const container = fleet.host("h1c1");
    const server = await container.spawn("node", ["test/fleet/http-echo.ts", "--id", "c1", "--listen", `${container.ip}:8080`]);
    await server.waitForLine(/^listening/);
    const to = `dnat to ${container.ip}:8080`;
    const translated = [
      "10.96.0.10 tcp dport 80",
      "203.0.113.9 tcp dport 80",
      "203.0.113.10 tcp dport 80",
      `${a.ip} tcp dport 30080`,
      `${a.ip} tcp dport 9999`,
    ];
    const rules = translated.map((place) => `ip daddr ${place} ${to}`).join("\n");
    await a.run("nft", ["-f", "-"], { input: `table ip another {\nchain pre {\ntype nat hook prerouting priority -110\n${rules}\n}\n}\n` });
    for (const range of ["10.96.0.0/16", "203.0.113.0/24", "10.200.1.0/24"])
      await fleet.out.run("ip", ["route", "add", range, "via", a.ip]);
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  const backends = () => [aBackend(fleet.host("h1c1").ip, 8080, { isLocal: true })];
  const web = () =>
    aCompiled([
      aFrontend({ backends: backends() }),
      aFrontend({ scope: "external", address: "203.0.113.9", backends: backends() }),
      aFrontend({ scope: "nodePort", address: "", port: 30_080, backends: backends() }),
    ]);
  const open = (): Passage => {
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const passage = openPassage({
      tools: openKernelTools({ enter: a.enter }),
      family: "IPv4",
      log,
      procNet: procNetOf(a),
      lookEveryMs: 50,
    });
    onTestFinished(async () => {
      await passage.cleanup({ dryRun: false }, signal);
      await a.run(`iptables-${kind}`, ["-P", "FORWARD", "ACCEPT"]);
      await a.run(`iptables-${kind}`, ["-F"]);
      await a.run(`iptables-${kind}`, ["-X"]);
    });
    return passage;
  };
  const answers = async (to: string): Promise<boolean> => (await askHttp(fleet.out, to, { timeoutMs: 500 })).answers["c1"] === 1;
  const OURS = ["10.96.0.10:80", "203.0.113.9:80", "172.30.0.1:30080"];
  const OTHERS = ["203.0.113.10:80", "172.30.0.1:9999", "10.200.1.11:8080"];

  test("a host where everything may pass gets no rule", async () => {
    const passage = open();
    await passage.sync(aTable([web()], fleetHost), signal);
    expect(await saved(a, kind)).not.toContain("FLP-");
    for (const to of [...OURS, ...OTHERS]) expect(await answers(to), to).toBe(true);
  });

  test("a policy of DROP that comes later is noticed, and connections of ours pass it, others do not", async () => {
    const passage = open();
    await passage.sync(aTable([web()], fleetHost), signal);
    await a.run(`iptables-${kind}`, ["-P", "FORWARD", "DROP"]);
    expect(await answers(OURS[0] ?? "")).toBe(false);
    const isIn = async (): Promise<boolean> => {
      expect(await passage.verify(signal)).toEqual({ intact: true });
      return (await saved(a, kind)).includes("FLP-OURS");
    };
    await waitFor(isIn, { what: "the rules to be brought in" });
    for (const to of OURS) expect(await answers(to), to).toBe(true);
    for (const to of OTHERS) expect(await answers(to), to).toBe(false);
  });

  test("a place that comes is let through, one that goes is not, and DOCKER-USER is passed before Docker's own rules", async () => {
    for (const args of [
      ["-N", "DOCKER-USER"],
      ["-A", "FORWARD", "-j", "DROP"],
      ["-I", "FORWARD", "-j", "DOCKER-USER"],
    ])
      await a.run(`iptables-${kind}`, args);
    const passage = open();
    await passage.sync(aTable([web()], fleetHost), signal);
    // As Docker does with each network that it makes.
    await a.run(`iptables-${kind}`, ["-I", "FORWARD", "1", "-d", "10.200.1.0/24", "-j", "DROP"]);
    await a.run(`iptables-${kind}`, ["-D", "FORWARD", "-j", "DOCKER-USER"]);
    await a.run(`iptables-${kind}`, ["-I", "FORWARD", "1", "-j", "DOCKER-USER"]);
    for (const to of OURS) expect(await answers(to), to).toBe(true);
    const more = aCompiled([aFrontend({ scope: "loadBalancer", address: "203.0.113.10", backends: backends() })], "default/more");
    expect(await answers("203.0.113.10:80")).toBe(false);
    await passage.update([{ key: more.key, previous: undefined, next: more }], signal);
    expect(await answers("203.0.113.10:80")).toBe(true);
    await passage.update([{ key: more.key, previous: more, next: undefined }], signal);
    expect(await answers("203.0.113.10:80")).toBe(false);
    for (const to of OTHERS) expect(await answers(to), to).toBe(false);
  });

  test("a flush is seen, cleanup leaves nothing, and a host that needs it no more is rid of it", async () => {
    await a.run(`iptables-${kind}`, ["-P", "FORWARD", "DROP"]);
    const passage = open();
    await passage.sync(aTable([web()], fleetHost), signal);
    await a.run(`iptables-${kind}`, ["-F", "FLP-OURS"]);
    expect(await passage.verify(signal)).toMatchObject({ intact: false });
    await passage.sync(aTable([web()], fleetHost), signal);
    expect(await passage.verify(signal)).toEqual({ intact: true });
    expect(await answers(OURS[0] ?? "")).toBe(true);
    const announced = await passage.cleanup({ dryRun: true }, signal);
    expect(announced).toContain(`iptables-${kind} filter chain FLP-OURS`);
    await a.run(`iptables-${kind}`, ["-P", "FORWARD", "ACCEPT"]);
    await passage.sync(aTable([web()], fleetHost), signal);
    expect(await saved(a, kind)).not.toContain("FLP-");
    expect(await passage.cleanup({ dryRun: false }, signal)).toEqual([]);
  });

  test("to a routed network hosts of the fleet are let in past filter and raw, and nobody else", async () => {
    const iptables = (...args: string[]) => a.run(`iptables-${kind}`, args);
    const container = fleet.host("h1c1").ip;
    const gate = openRoutedGate({
      tools: openKernelTools({ enter: a.enter }),
      family: "IPv4",
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
      procNet: procNetOf(a),
      lookEveryMs: 50,
    });
    onTestFinished(async () => {
      await gate.cleanup({ dryRun: false }, signal);
      for (const table of ["filter", "raw"]) await iptables("-t", table, "-F");
      await iptables("-P", "FORWARD", "ACCEPT");
    });
    const direct = `${container}:8080`;
    const access = (...hosts: string[]) => ({ cidrs: ["10.200.1.0/24"], hosts: new Set(hosts) });
    await gate.hold(access("192.0.2.7"), signal);
    expect(await saved(a, kind)).not.toContain("FLR-");
    await iptables("-P", "FORWARD", "DROP");
    // As Docker does since version 28.
    await iptables("-t", "raw", "-A", "PREROUTING", "-d", container, "-i", "eth0", "-j", "DROP");
    const isIn = async (): Promise<boolean> => {
      expect(await gate.verify(signal)).toEqual({ intact: true });
      return (await saved(a, kind)).includes("FLR-OURS");
    };
    await waitFor(isIn, { what: "the rules to be brought in" });
    expect(await answers(direct)).toBe(false);
    await gate.hold(access("192.0.2.7", fleet.out.ip), signal);
    expect(await answers(direct)).toBe(true);
    expect(await gate.verify(signal)).toEqual({ intact: true });
    await iptables("-F", "FLR-OURS");
    expect(await gate.verify(signal)).toMatchObject({ intact: false });
    await gate.hold(access(fleet.out.ip), signal);
    expect(await answers(direct)).toBe(true);
    await gate.hold(access(), signal);
    expect(await answers(direct)).toBe(false);
    expect(await gate.cleanup({ dryRun: true }, signal)).toContain(`iptables-${kind} raw chain FLR-OURS`);
    await gate.hold({ cidrs: [], hosts: new Set([fleet.out.ip]) }, signal);
    expect(await gate.cleanup({ dryRun: true }, signal)).toEqual([]);
  });
});
