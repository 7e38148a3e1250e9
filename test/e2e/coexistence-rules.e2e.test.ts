import { describe, expect, test } from "vitest";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead, serveHttp, startAgent } from "./agent-rig.ts";
import { DATAPLANES_HERE, openNeighbourhood, rulesOn, untilAnswered } from "./coexistence-rig.ts";

/** Rules of others that come without a daemon here: a VPN's marks, and two kinds of iptables in use. */

const TAILNET = "100.64.0.0/10";

/** As tailscaled writes them on a subnet router: what comes by its device is marked, let through, and masqueraded by the mark. */
const TAILSCALE_RULES = `*filter
:ts-input - [0:0]
:ts-forward - [0:0]
-A INPUT -j ts-input
-A FORWARD -j ts-forward
-A ts-input -s 100.64.0.1/32 -i lo -j ACCEPT
-A ts-input -s 100.115.92.0/23 ! -i tailscale0 -j RETURN
-A ts-input -s ${TAILNET} ! -i tailscale0 -j DROP
-A ts-input -i tailscale0 -j ACCEPT
-A ts-input -p udp -m udp --dport 41641 -j ACCEPT
-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
-A ts-forward -s ${TAILNET} -o tailscale0 -j DROP
-A ts-forward -o tailscale0 -j ACCEPT
COMMIT
*nat
:ts-postrouting - [0:0]
-A POSTROUTING -j ts-postrouting
-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE
COMMIT
`;

describe.for(DATAPLANES_HERE)("$dataplane", ({ dataplane, backend }) => {
  test("clients of a tailnet reach virtual IPs through a host, and what else the host routes for them is masqueraded by mark as before", async () => {
    await using fleet = await createFleet({ hosts: 2, containersPerHost: 1, backend });
    const [host, remote] = fleet.hosts;
    const { out } = fleet;
    for (const name of ["h1", "h1c1", "h2"]) await serveHttp(fleet.host(name), name);
    await joinTailnet(host, out);
    for (const range of ["10.96.0.0/16", `${remote.ip}/32`]) await out.run("ip", ["route", "add", range, "via", "100.64.0.1"]);
    await host.run("iptables-restore", ["--noflush"], { input: TAILSCALE_RULES });
    const rulesBefore = await rulesOn(host, "all");
    const whoIsSeen = async (to: string): Promise<string> => (await out.run("curl", ["-sS", "-m", "2", `http://${to}/`])).stdout.trim();
    expect(await whoIsSeen(`${remote.ip}:8080`)).toBe(`h2 ${host.ip}`);

    const neighbourhood = await openNeighbourhood({ host, server: remote, agentFlags: ["--dataplane", dataplane] });
    const places = { h1: host, h1c1: fleet.host("h1c1"), h2: remote };
    for (const [name, { ip }] of Object.entries(places)) {
      const vip = await neighbourhood.serve(name, { ip, port: 8080, node: name.slice(0, 2) });
      await untilAnswered(neighbourhood, host, { to: vip, by: name });
      expect(await neighbourhood.reach(out, vip)).toBe(name);
    }
    expect(await whoIsSeen(`${remote.ip}:8080`)).toBe(`h2 ${host.ip}`);
    expect(await rulesOn(host, "foreign")).toBe(rulesBefore);
    await neighbourhood.agent.stop();
    await host.run(fairlead, ["agent", "cleanup"]);
    expect(await rulesOn(host, "all")).toBe(rulesBefore);
  });
});

test("a host with rules in both kinds of iptables is warned about, served, and its rules stay in both", async () => {
  await using fleet = await createFleet({ hosts: 2, backend: "nft" });
  const [host, remote] = fleet.hosts;
  await serveHttp(remote, "h2");
  for (const kind of ["nft", "legacy"]) await host.run(`iptables-${kind}`, ["-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP"]);
  const rulesBefore = await rulesOn(host, "all");
  const neighbourhood = await openNeighbourhood({ host, server: remote, agentFlags: ["--dataplane", "iptables"] });
  const vip = await neighbourhood.serve("web", { ip: remote.ip, port: 8080, node: "h2" });
  await untilAnswered(neighbourhood, host, { to: vip, by: "h2" });
  await neighbourhood.agent.waitForLine(/rules both in iptables-nft and in iptables-legacy/);
  expect(await rulesOn(host, "foreign")).toBe(rulesBefore);
});

test.for([
  ["nft", "legacy"],
  ["legacy", "nft"],
] as const)(
  "where ours are in iptables-%s, what iptables-%s drops does not stop connections of services, also when it comes later",
  async ([kind, other]) => {
    await using fleet = await createFleet({ hosts: 2, containersPerHost: 1, backend: kind });
    const [host, remote] = fleet.hosts;
    const container = fleet.host("h1c1");
    await serveHttp(remote, "h2");
    const dataplane = `iptables-${kind}`;
    const neighbourhood = await openNeighbourhood({ host, server: remote, agentFlags: ["--dataplane", dataplane] });
    const vip = await neighbourhood.serve("web", { ip: remote.ip, port: 8080, node: "h2" });
    await untilAnswered(neighbourhood, container, { to: vip, by: "h2" });

    await host.run(`iptables-${other}`, ["-P", "FORWARD", "DROP"]);
    const foreign = await rulesOn(host, "foreign");
    expect(await neighbourhood.reach(container, `${remote.ip}:8080`)).not.toBe("h2"); // which is not ours
    await untilAnswered(neighbourhood, container, { to: vip, by: "h2" });
    const later = await neighbourhood.serve("later", { ip: remote.ip, port: 8080, node: "h2" });
    await untilAnswered(neighbourhood, container, { to: later, by: "h2" });
    expect(await neighbourhood.reach(container, `${remote.ip}:8080`)).not.toBe("h2");
    expect(await rulesOn(host, "foreign")).toBe(foreign);
    await neighbourhood.agent.stop();
    await host.run(fairlead, ["agent", "cleanup"]);
    expect(await rulesOn(host, "all")).not.toContain("FL");
  },
);

test("rules of an earlier mode that somebody saved and restores are taken away again", async () => {
  await using fleet = await createFleet({ hosts: 2, backend: "nft" });
  const [host, remote] = fleet.hosts;
  await serveHttp(remote, "h2");
  const neighbourhood = await openNeighbourhood({ host, server: remote, agentFlags: ["--dataplane", "iptables-nft"] });
  const vip = await neighbourhood.serve("web", { ip: remote.ip, port: 8080, node: "h2" });
  await untilAnswered(neighbourhood, host, { to: vip, by: "h2" });
  const { stdout: saved } = await host.run("iptables-save");
  await neighbourhood.agent.stop();
  const agent = await startAgent(host, "--dataplane", "nftables");
  const isClear = async (): Promise<boolean> => !(await host.run("iptables-save")).stdout.includes("FL-");
  await waitFor(isClear, { what: "the rules of the earlier mode to go", timeoutMs: 15_000 });
  await host.run("iptables-restore", ["--noflush"], { input: saved });
  expect(await isClear()).toBe(false);
  await waitFor(isClear, { what: "the restored rules to go", timeoutMs: 15_000 });
  expect(await neighbourhood.reach(host, vip)).toBe("h2");
  await agent.stop();
});

/** A cable that is called as the VPN's device. */
async function joinTailnet(host: Host, client: Host): Promise<void> {
  const pid = client.enter.map((word) => /^--target=(\d+)$/.exec(word)?.[1]).find((found) => found !== undefined) ?? "";
  await host.run("ip", ["link", "add", "tailscale0", "type", "veth", "peer", "name", "ts0", "netns", pid]);
  await host.run("ip", ["address", "add", "100.64.0.1/24", "dev", "tailscale0"]);
  await host.run("ip", ["link", "set", "tailscale0", "up"]);
  await client.run("ip", ["address", "add", "100.64.0.9/24", "dev", "ts0"]);
  await client.run("ip", ["link", "set", "ts0", "up"]);
}
