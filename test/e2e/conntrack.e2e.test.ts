import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Frontend } from "#agent/compile/table.ts";
import { openFlowCleaner } from "#agent/dataplane/conntrack.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import type { IpFamily } from "#proto/ip.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";

/** The cleaner of stale UDP flows and the kernel's own table; the rules are written by hand, so that no driver has a part in it. */

interface Family {
  readonly family: IpFamily;
  readonly iptables: string;
  readonly flag: string;
  readonly vip: string;
  readonly balancer: string;
  readonly elsewhere: string;
  readonly ends: readonly [string, string];
  readonly client: string;
  hostIp(host: Host): string;
  url(ip: string, port: number): string;
}

const families: readonly Family[] = [
  {
    family: "IPv4",
    iptables: "iptables",
    flag: "ipv4",
    vip: "10.96.0.10",
    balancer: "192.0.2.1",
    elsewhere: "198.51.100.9",
    ends: ["10.200.2.11", "10.200.2.12"],
    client: "172.30.9.9",
    hostIp: ({ ip }) => ip,
    url: (ip, port) => `${ip}:${port}`,
  },
  {
    family: "IPv6",
    iptables: "ip6tables",
    flag: "ipv6",
    vip: "fd10::10",
    balancer: "2001:db8::1",
    elsewhere: "2001:db8:9::9",
    ends: ["fd30:c:2::b", "fd30:c:2::c"],
    client: "fd30::9:9",
    hostIp: ({ ip6 }) => ip6,
    url: (ip, port) => `[${ip}]:${port}`,
  },
];

let fleet: Fleet<readonly [Host]>;
let host: Host;
const signal = new AbortController().signal;

beforeAll(async () => {
  fleet = await createFleet({ hosts: 1 });
  [host] = fleet.hosts;
});
afterAll(async () => fleet[Symbol.asyncDispose]());

function cleanerOf(family: IpFamily) {
  const warnings: string[] = [];
  const log = { info: () => undefined, warn: (_: object, text: string) => void warnings.push(text), error: () => undefined };
  return { warnings, flows: openFlowCleaner({ family, tools: openKernelTools({ enter: host.enter }), log }) };
}

describe.for(families)("$family", (of) => {
  const { family, flag, vip, balancer, elsewhere, ends, client } = of;
  let sourcePort = 40_000;

  async function remember(to: string, port: number, answeredBy: string, answeringPort: number): Promise<void> {
    const from = String(++sourcePort);
    const question = ["-s", client, "-d", to, "--sport", from, "--dport", String(port)];
    const answer = ["-r", answeredBy, "-q", client, "--reply-port-src", String(answeringPort), "--reply-port-dst", from];
    await host.run("conntrack", ["-I", "-p", "udp", ...question, ...answer, "-t", "120"]);
  }
  /** `to:port answeredBy`, sorted. */
  async function remembered(): Promise<string[]> {
    const { stdout } = await host.run("conntrack", ["-L", "-f", flag, "-p", "udp", "--orig-src", client]);
    const found = [...stdout.matchAll(/dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+)/g)];
    return found.map(([, to, port, by]) => `${to}:${port} ${by}`).toSorted();
  }
  const forgetAll = () => host.run("conntrack", ["-F"]);
  const udp = (more: Partial<Frontend>, ...addresses: string[]): Frontend =>
    aFrontend({ family, protocol: "UDP", address: vip, port: 53, backends: addresses.map((ip) => aBackend(ip, 5353)), ...more });

  test("flows to an endpoint that went are forgotten at every place of the service, and nobody else's are", async () => {
    await forgetAll();
    const [gone, stays] = ends;
    const nodeIp = of.hostIp(host);
    const places: Partial<Frontend>[] = [
      { address: vip },
      { scope: "loadBalancer", address: balancer },
      { scope: "nodePort", address: "", port: 30053 },
    ];
    for (const end of ends) {
      await remember(vip, 53, end, 5353);
      await remember(balancer, 53, end, 5353);
      await remember(nodeIp, 30053, end, 5353);
    }
    await remember(elsewhere, 30053, elsewhere, 30053);
    await remember(nodeIp, 30054, gone, 5353);
    const { flows, warnings } = cleanerOf(family);
    const changes = places.map((place) => ({ previous: udp(place, gone, stays), next: udp(place, stays) }));
    expect(await flows.afterChange(changes, signal)).toBe(3);
    expect(warnings).toEqual([]);
    expect(await remembered()).toEqual(
      [
        `${vip}:53 ${stays}`,
        `${balancer}:53 ${stays}`,
        `${nodeIp}:30053 ${stays}`,
        `${elsewhere}:30053 ${elsewhere}`,
        `${nodeIp}:30054 ${gone}`,
      ].toSorted(),
    );
  });

  test("the first endpoint ends what was not translated before, a frontend that is gone what was", async () => {
    await forgetAll();
    const [end] = ends;
    const { flows } = cleanerOf(family);
    await remember(vip, 53, vip, 53);
    expect(await flows.afterChange([{ previous: udp({}), next: udp({}, end) }], signal)).toBe(1);
    expect(await remembered()).toEqual([]);
    await remember(vip, 53, end, 5353);
    await remember(vip, 53, vip, 53);
    expect(await flows.afterChange([{ previous: udp({}, end), next: undefined }], signal)).toBe(1);
    expect(await remembered()).toEqual([`${vip}:53 ${vip}`]);
  });

  test("after a start, what is translated in the service ranges by no service of now is forgotten, and nothing of others", async () => {
    await forgetAll();
    const [gone, stays] = ends;
    await remember(vip, 53, stays, 5353);
    await remember(vip, 54, gone, 5353);
    await remember(vip, 55, vip, 55);
    await remember(balancer, 53, gone, 5353);
    const { flows, warnings } = cleanerOf(family);
    const hostTable = aHostTable({ serviceCidrs: ["10.96.0.0/16", "fd10::/112"] });
    expect(await flows.afterSync(aTable([aCompiled([udp({}, stays)])], hostTable), signal)).toBe(1);
    expect(warnings).toEqual([]);
    expect(await remembered()).toEqual([`${vip}:53 ${stays}`, `${vip}:55 ${vip}`, `${balancer}:53 ${gone}`].toSorted());
  });

  test("a client that keeps its socket gets the new endpoint through a node port, once the old one is gone", async () => {
    await forgetAll();
    const ip = of.hostIp(host);
    const echo = await host.spawn("node", ["test/fleet/udp-echo.ts", ...["--id", "one", "--listen", of.url(ip, 5301)]]);
    const other = await host.spawn("node", ["test/fleet/udp-echo.ts", ...["--id", "two", "--listen", of.url(ip, 5302)]]);
    await Promise.all([echo.waitForLine(/^listening/), other.waitForLine(/^listening/)]);
    const rule = (port: number) => ["-p", "udp", "--dport", "30053", "-j", "DNAT", "--to-destination", of.url(ip, port)];
    await host.run(of.iptables, ["-t", "nat", "-I", "PREROUTING", "1", ...rule(5301)]);
    const asking = ["--to", of.url(ip, 30053), "--count", "600", "--every-ms", "20", "--same-socket"];
    const asker = await fleet.out.spawn("node", ["test/fleet/udp-ask.ts", ...asking]);
    await asker.waitForLine(/^one .* 2$/);
    await host.run(of.iptables, ["-t", "nat", "-R", "PREROUTING", "1", ...rule(5302)]);
    const { flows } = cleanerOf(family);
    const nodePort = (port: number): Frontend =>
      aFrontend({ family, scope: "nodePort", address: "", protocol: "UDP", port: 30053, backends: [aBackend(ip, port)] });
    expect(await flows.afterChange([{ previous: nodePort(5301), next: nodePort(5302) }], signal)).toBe(1);
    await asker.waitForLine(/^two /);
  });
});
