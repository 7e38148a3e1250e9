import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { flows, HOST_2, HOST_3, SENDER_IPS, type Flow } from "#test/packet/flows.ts";
import { askHttp, askUdp, driverOn, tableOf } from "./dataplane-rig.ts";

/** The same flow table that test/packet walks in memory, through the kernel, with real sockets. */

const signal = new AbortController().signal;
type ThreeHosts = Fleet<readonly [Host, Host, Host]>;

const CONNECTIONS = 3_000;

describe.for(["nft", "legacy"] as const)("iptables-%s", (kind) => {
  let fleet: ThreeHosts;
  let driver: DataplaneDriver;

  beforeAll(async () => {
    fleet = await createFleet({ hosts: 3, containersPerHost: 2, containerNetwork: "routed", backend: kind });
    const [a, b, c] = fleet.hosts;
    await fleet.out.run("ip", ["route", "add", "10.96.0.0/16", "via", a.ip]);
    // A port of a bridge does not send back where it came from, unless told: Docker tells it with --userland-proxy=false.
    for (const container of a.containers)
      await a.run("ip", ["link", "set", `v-${container.name}`, "type", "bridge_slave", "hairpin", "on"]);
    await serve(b, [8080, ...Array.from({ length: 12 }, (_, i) => 8000 + i)], [5353]);
    await serve(c, [8080, 9090], [5353]);
    for (const container of a.containers) await serve(container, [8080], []);
    driver = driverOn(a, kind).driver;
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  test.for(flows)("$name", async (flow) => {
    await driver.sync(tableOf(flow.services), signal);
    const [address = "", protocol] = flow.to.split("/");
    if (protocol === "udp") await checkUdp(senderOf(fleet, flow), address, flow);
    else await checkTcp(senderOf(fleet, flow), address, flow);
  });
});

/** Each address and port answers with its own name. */
async function serve(machine: Host, tcp: readonly number[], udp: readonly number[]): Promise<void> {
  const start = async (program: string, port: number): Promise<void> => {
    const target = `${machine.ip}:${port}`;
    const server = await machine.spawn("node", [`test/fleet/${program}.ts`, "--id", target, "--listen", target]);
    await server.waitForLine(/^listening/);
  };
  for (const port of tcp) await start("http-echo", port);
  for (const port of udp) await start("udp-echo", port);
}

function senderOf(fleet: ThreeHosts, { from }: Flow): Host {
  if (from === "host") return fleet.hosts[0];
  return from === "out" ? fleet.out : fleet.host(`h1${from}`);
}

async function checkTcp(sender: Host, address: string, flow: Flow): Promise<void> {
  if (flow.want === "DROP") {
    expect((await askHttp(sender, address, { timeoutMs: 500 })).failures).toEqual({ timeout: 1 });
    return;
  }
  if (flow.want === "REJECT") {
    const { failures, slowest_ms: slowest } = await askHttp(sender, address, { requests: 20 });
    expect(failures).toEqual({ ECONNREFUSED: 20 });
    expect(slowest).toBeLessThan(500);
    return;
  }
  const want = flow.want === "UNTOUCHED" ? [address] : flow.want;
  const { answers, failures } = await askHttp(sender, address, { requests: want.length > 1 && !isSticky(flow) ? CONNECTIONS : 3 });
  expect(failures).toEqual({});
  if (isSticky(flow)) {
    expect(want).toEqual(expect.arrayContaining(Object.keys(answers)));
    expect(Object.keys(answers)).toHaveLength(1);
    return;
  }
  expect(Object.keys(answers).toSorted()).toEqual([...want].toSorted());
  for (const [i, target] of want.entries()) expectShare(answers[target] ?? 0, flow.shares?.[i] ?? 1 / want.length, want.length);
  if (flow.want !== "UNTOUCHED") expect(await seenFrom(sender, address)).toSatisfy((seen: string) => isSeenAs(flow, seen));
}

async function checkUdp(sender: Host, address: string, flow: Flow): Promise<void> {
  const answer = await askUdp(sender, address);
  if (flow.want === "REJECT") expect(answer).toBe("ECONNREFUSED");
  else expect(flow.want).toEqual([answer.split(" ")[0]]);
}

function isSticky({ services }: Flow): boolean {
  return services.some(({ frontends }) => frontends.some(({ affinitySeconds }) => affinitySeconds !== undefined));
}

/** Within five standard deviations of a fair draw: wrong once in a million runs. That shares are exact is shown in memory. */
function expectShare(got: number, share: number, targets: number): void {
  if (targets === 1) return;
  const deviation = Math.sqrt(CONNECTIONS * share * (1 - share));
  expect(Math.abs(got - CONNECTIONS * share)).toBeLessThan(5 * deviation);
}

async function seenFrom(sender: Host, address: string): Promise<string> {
  const { stdout } = await sender.run("curl", ["-sS", "-m", "3", `http://${address}/`]);
  return stdout.split(" ")[1]?.trim() ?? "";
}

function isSeenAs({ from, seenAs }: Flow, seen: string): boolean {
  const addressesOfHost = [SENDER_IPS.host, "10.200.1.1"];
  return seenAs === "host" ? addressesOfHost.includes(seen) : seen === SENDER_IPS[from] && ![HOST_2, HOST_3].includes(seen);
}
