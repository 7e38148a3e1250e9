import { expect, test } from "vitest";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead, joinHost, openApi, servicesPath, startAgent, startServer } from "./agent-rig.ts";

const RANGES = ["--service-cidr", "10.96.0.0/16", "--service-cidr", "fd00:10:96::/112"];

/** All that an agent may change on a host, as text. */
async function stateOf(host: Host): Promise<Record<string, string>> {
  const look = async (file: string, ...args: string[]): Promise<string> => (await host.run(file, args, { reject: false })).stdout;
  const rules = async (program: string): Promise<string> =>
    (await look(program))
      .split("\n")
      .filter((line) => /^(-A|\*|:)/.test(line))
      .map((line) => line.replace(/ \[\d+:\d+\]$/, ""))
      .filter((line) => /FL|^-A/.test(line))
      .join("\n");
  return {
    nft: (await look("nft", "list", "tables")).split("\n").filter((line) => !/^table ip6? (nat|filter|mangle)$/.test(line)).join("\n"), // prettier-ignore
    v4: await rules("iptables-nft-save"),
    v6: await rules("ip6tables-nft-save"),
    v4legacy: await rules("iptables-legacy-save"),
    v6legacy: await rules("ip6tables-legacy-save"),
    addresses: await look("ip", "-br", "address"),
    routes: `${await look("ip", "route")}\n${await look("ip", "-6", "route")}`,
    sysctls: await look("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.route_localnet"),
    sets: await look("ipset", "list", "-n"),
    files: await look("ls", "-A", "/var/lib/fairlead/agent"),
  };
}

/** Programs that are not on this host: in a folder before the others, each says so as the shell does. */
async function without(host: Host, tools: readonly string[]): Promise<string> {
  await host.run("mkdir", ["-p", "/run/missing"]);
  for (const tool of tools)
    await host.run("sh", ["-c", `printf '#!/bin/sh\\nexit 127\\n' > /run/missing/${tool}; chmod +x /run/missing/${tool}`]);
  return `/run/missing:${(await host.run("sh", ["-c", "echo $PATH"])).stdout}`;
}

test("cleanup leaves a host as it was, whatever the mode was, also where tools of the other modes are missing", async () => {
  await using fleet = await createFleet({ hosts: 2, containersPerHost: 1 });
  const [h1, h2] = fleet.hosts;
  await startServer(h1, ...RANGES);
  const api = await openApi(h1);
  await joinHost(h2, { api, server: h1 });
  await api.create(servicesPath, {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "default" },
    spec: {
      type: "NodePort",
      ipFamilyPolicy: "RequireDualStack",
      externalIPs: ["198.51.100.7"],
      ports: [{ port: 80, targetPort: 8080, nodePort: 30_080 }],
    },
  });
  // Rules of others, and a host that forwards nothing yet and has no way to the virtual IPs.
  await h2.run("iptables", ["-P", "FORWARD", "DROP"]);
  await h2.run("iptables", ["-A", "FORWARD", "-s", "192.0.2.0/24", "-j", "ACCEPT"]);
  await h2.run("sysctl", ["-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"]);
  await h2.run("ip", ["route", "del", "default"]);
  const untouched = await stateOf(h2);

  for (const mode of ["iptables-nft", "iptables-legacy", "nftables", "auto"]) {
    const agent = await startAgent(h2, "--dataplane", mode);
    await agent.waitForLine(/"family":"IPv4".*programmed the kernel/, { timeoutMs: 20_000 });
    await agent.waitForLine(/"family":"IPv6".*programmed the kernel/, { timeoutMs: 20_000 });
    for (const route of [/10\.96\.0\.0\/16 dev lo/, /198\.51\.100\.7 dev lo/])
      await waitFor(async () => route.test((await stateOf(h2))["routes"] ?? ""), { what: `a route like ${route}`, timeoutMs: 10_000 });
    if (mode === "auto") await agent.waitForLine(/"family":"IPv4","dataplane":"nftables","asked":"auto","why":"the kernel has all/);
    await agent.kill(); // what is left must not depend on how it ended
    const { stdout: would } = await h2.run(fairlead, ["agent", "cleanup", "--dry-run"]);
    expect(would).toMatch(mode === "nftables" || mode === "auto" ? /would remove nft table/ : new RegExp(`would remove ${mode}`));
    expect(would).toMatch(/would remove sysctl net\.ipv4\.ip_forward back to 0/);
    expect(would).toMatch(/would remove route 10\.96\.0\.0\/16 dev lo/);
    expect(would).toMatch(/would remove route 198\.51\.100\.7 dev lo/);
    const own = mode.startsWith("iptables") ? ["iptables", "ip6tables"].map((program) => `${program}${mode.slice(8)}-restore`) : ["nft"];
    const blind = await h2.run(fairlead, ["agent", "cleanup"], { env: { PATH: await without(h2, own) }, reject: false });
    expect(blind.exitCode, mode).not.toBe(0);
    expect(blind.stderr).toMatch(/are still on this host.*apt-get install/s);
    await h2.run("rm", ["-rf", "/run/missing"]);
    const missing = mode.startsWith("iptables") ? ["nft", "ipvsadm", "ipset"] : ["ipvsadm", "ipset"];
    const cleaned = await h2.run(fairlead, ["agent", "cleanup"], { env: { PATH: await without(h2, missing) } });
    expect(cleaned.stdout).toContain("nothing of Fairlead is left on this host");
    await h2.run("rm", ["-rf", "/run/missing"]);
    expect(await stateOf(h2), mode).toEqual(untouched);
  }
});
