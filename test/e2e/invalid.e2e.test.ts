import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { CompiledService } from "#agent/compile/table.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { driverOn, tableOf } from "./dataplane-rig.ts";
import { nftablesOn } from "./nftables-rig.ts";

/**
 * What conntrack has lost is not translated back: who gets it answers with a reset, which kills the connection. Here it loses two open connections and
 * may not pick them up again, so that all that their servers send is INVALID.
 */

const signal = new AbortController().signal;

let fleet: Fleet<readonly [Host, Host]>;
let a: Host;
/** Into a container of the host, and out of one. */
let connections: readonly { readonly vip: string; readonly client: Host; readonly server: Host }[];

beforeAll(async () => {
  fleet = await createFleet({ hosts: 2, containersPerHost: 1, containerNetwork: "routed" });
  const [host, b] = fleet.hosts;
  a = host;
  const container = fleet.host("h1c1");
  connections = [
    { vip: "10.96.0.10", client: container, server: b },
    { vip: "10.96.0.11", client: b, server: container },
  ];
  for (const { server } of connections) {
    const http = await server.spawn("node", ["test/fleet/http-echo.ts", "--id", server.name, "--listen", `${server.ip}:8080`]);
    await http.waitForLine(/^listening/);
  }
  await b.run("ip", ["route", "replace", "10.96.0.0/16", "via", a.ip]);
});
afterAll(() => fleet[Symbol.asyncDispose]());

function services(): CompiledService[] {
  return connections.map(({ vip, server }) => {
    const backend = aBackend(server.ip, 8080, { isLocal: server.name === "h1c1" });
    return aCompiled([aFrontend({ address: vip, id: `default/${server.name}`, backends: [backend] })], `default/${server.name}`);
  });
}

/** Packets of the server's own address that come in at `machine`, after conntrack has looked at them and before anything is translated. */
async function counterOn(machine: Host, server: Host, match = ""): Promise<() => Promise<number>> {
  const table = `from_${server.name}`;
  const rule = `${match} ip saddr ${server.ip} tcp sport 8080 counter`;
  const lines = [`table ip ${table} {`, "chain in {", "type filter hook prerouting priority -150", rule, "}", "}", ""];
  await machine.run("nft", ["-f", "-"], { input: lines.join("\n") });
  onTestFinished(async () => {
    await machine.run("nft", ["delete", "table", "ip", table]);
  });
  return async () => {
    const { stdout } = await machine.run("nft", ["list", "table", "ip", table]);
    return Number(/counter packets (\d+)/.exec(stdout)?.[1]);
  };
}

async function set(name: string, value: number): Promise<void> {
  const setting = `net.netfilter.nf_conntrack_${name}`;
  const { stdout: before } = await a.run("sysctl", ["-n", setting]);
  await a.run("sysctl", ["-q", "-w", `${setting}=${value}`]);
  onTestFinished(async () => {
    await a.run("sysctl", ["-q", "-w", `${setting}=${before}`]);
  });
}

interface Counters {
  readonly invalid: () => Promise<number>;
  /** A translated packet has the virtual IP as its source: these are the others. */
  readonly arrived: () => Promise<number>;
}

/** Opens the connections and makes the host's kernel lose them. */
async function loseConnections(): Promise<readonly Counters[]> {
  const counters: Counters[] = [];
  for (const { vip, client, server } of connections) {
    const stream = await client.spawn("curl", ["-sSN", `http://${vip}/stream`]);
    onTestFinished(async () => {
      await stream.kill();
    });
    await stream.waitForLine(/ 2$/);
    counters.push({ invalid: await counterOn(a, server, "ct state invalid"), arrived: await counterOn(client, server) });
  }
  await set("tcp_loose", 0);
  for (const { vip } of connections) await a.run("conntrack", ["-D", "-p", "tcp", "--orig-dst", vip]);
  return counters;
}

describe.for([
  ["nftables", () => nftablesOn(a)],
  ["iptables-nft", () => driverOn(a, "nft")],
  ["iptables-legacy", () => driverOn(a, "legacy")],
] as const)("%s", ([, open]) => {
  const sync = async (): Promise<void> => {
    const { driver } = open();
    onTestFinished(async () => {
      await driver.cleanup({ dryRun: false }, signal);
      driver.close();
    });
    await driver.sync(tableOf(services()), signal);
  };

  test("what conntrack has lost reaches no container, and nothing of it leaves one", async () => {
    await set("tcp_be_liberal", 0);
    await sync();
    for (const { invalid, arrived } of await loseConnections()) {
      await waitFor(async () => (await invalid()) >= 3, { what: "the server to send, and to send again" });
      expect(await arrived()).toBe(0);
    }
  });

  test("where the host is set to be liberal about TCP, it passes", async () => {
    await set("tcp_be_liberal", 1);
    await sync();
    for (const { arrived } of await loseConnections())
      await waitFor(async () => (await arrived()) > 0, { what: "the server's packet at the client" });
  });
});
