import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createFleet } from "#test/fleet/fleet.ts";
import type { Host } from "#test/fleet/host.ts";
import { aHostTable } from "#test/tables.ts";

/** /proc/sys shows the settings of the network that its reader is in: the module runs there, as it does in an agent. */
async function sysctlsOn(host: Host, stateDir: string, call: string): Promise<string[]> {
  const program = `
    import { openSysctls } from "#agent/dataplane/sysctl.ts";
    const sysctls = openSysctls({ stateDir: ${JSON.stringify(stateDir)} });
    process.stdout.write(JSON.stringify(await sysctls.${call}));`;
  const { stdout } = await host.run("node", ["--input-type=module-typescript", "--eval", program]);
  return JSON.parse(stdout) as string[];
}

const FORWARDING = "net.ipv6.conf.all.forwarding";
const ACCEPT_RA = "net.ipv6.conf.eth0.accept_ra";

test("a host of containers with IPv6 forwards it, goes on listening to routers, and is put back as it was", async () => {
  await using fleet = await createFleet({ hosts: 1 });
  const [host] = fleet.hosts;
  await host.run("ip", ["link", "add", "docker0", "type", "bridge"]);
  const stateDir = await mkdtemp(join(tmpdir(), "sysctl-"));
  onTestFinished(() => rm(stateDir, { recursive: true }));
  const names = [FORWARDING, ACCEPT_RA, "net.ipv6.conf.docker0.accept_ra", "net.ipv4.ip_forward"];
  const values = async () => (await host.run("sysctl", ["-n", ...names])).stdout.split("\n");
  await host.run("sysctl", ["-q", "-w", `${FORWARDING}=0`, `${ACCEPT_RA}=1`, "net.ipv6.conf.docker0.accept_ra=1", "net.ipv4.ip_forward=0"]);

  const table = aHostTable({ serviceCidrs: ["10.96.0.0/16", "fd10::/112"], localCidrs: ["10.200.1.0/24", "fd30:c:1::/64"] });
  const ensure = (family: string) => sysctlsOn(host, stateDir, `ensure(${JSON.stringify(table)}, { family: "${family}" })`);
  expect(await ensure("IPv4")).toEqual(["net.ipv4.ip_forward=1 (was 0)"]);
  expect(await values()).toEqual(["0", "1", "1", "1"]);
  expect(await ensure("IPv6")).toEqual([`net/ipv6/conf/eth0/accept_ra=2 (was 1)`, `${FORWARDING}=1 (was 0)`]);
  expect(await values()).toEqual(["1", "2", "1", "1"]);
  expect(await ensure("IPv6")).toEqual([]);

  expect(await sysctlsOn(host, stateDir, "restore({ dryRun: false })")).toHaveLength(3);
  expect(await values()).toEqual(["0", "1", "1", "0"]);
});
