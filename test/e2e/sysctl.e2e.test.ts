import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { createFleet } from "#test/fleet/fleet.ts";
import type { Host } from "#test/fleet/host.ts";
import { runInUml } from "#test/fleet/uml.ts";
import { aHostTable } from "#test/tables.ts";

const Words = z.array(z.string());
const Values = z.record(z.string(), z.number());

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

test("conntrack's table is made larger and never smaller, and cleanup puts it back, in a kernel of its own", async () => {
  const { stdout, stderr } = await runInUml({
    command: process.execPath,
    args: ["test/e2e/conntrack-table-program.ts"],
    timeoutMs: 120_000,
  });
  expect(stderr).toBe("");
  const seen = z
    .object({ before: Values, raised: Values, after: Values, again: Words, restored: Words, warnings: Words })
    .parse(JSON.parse(stdout));
  expect(seen.before).toEqual({ buckets: 8_192, max: 20_000, established: 432_000, closeWait: 60 });
  expect(seen.raised).toEqual({ buckets: 65_536, max: 262_144, established: 432_000, closeWait: 3_600 });
  expect(seen.again).toEqual([]);
  expect(seen.restored).toHaveLength(3);
  expect(seen.after).toEqual(seen.before);
  expect(seen.warnings).toEqual([]);
});

test("in a network of its own a host sets what is its own, and says what is the machine's", async () => {
  await using fleet = await createFleet({ hosts: 1 });
  const [host] = fleet.hosts;
  const stateDir = await mkdtemp(join(tmpdir(), "sysctl-"));
  onTestFinished(() => rm(stateDir, { recursive: true }));
  const setting = (name: string): string => `net.netfilter.nf_conntrack_${name}`;
  const names = ["max", "tcp_timeout_established", "tcp_timeout_close_wait", "tcp_be_liberal"].map(setting);
  const values = async () => (await host.run("sysctl", ["-n", ...names])).stdout.split("\n").map(Number);
  await host.run("sysctl", ["-q", "-w", `${setting("tcp_timeout_established")}=600`, `${setting("tcp_timeout_close_wait")}=7200`]);
  const [max = 0] = await values();
  // What no kernel's table can hold: where it could be set after all, it is refused.
  const program = `
    import { DEFAULT_CONNTRACK, tuneConntrack } from "#agent/dataplane/conntrack-settings.ts";
    import { openSysctls } from "#agent/dataplane/sysctl.ts";
    const warnings = [];
    const log = { info: () => undefined, warn: ({ hint }, message) => warnings.push(message + "; " + hint) };
    const sysctls = openSysctls({ stateDir: ${JSON.stringify(stateDir)} });
    const settings = { ...DEFAULT_CONNTRACK, maxPerCore: ${2 ** 31}, isLiberal: true };
    process.stdout.write(JSON.stringify([await tuneConntrack({ sysctls, log, cores: 1 }, settings), warnings]));`;
  const { stdout } = await host.run("node", ["--input-type=module-typescript", "--eval", program]);
  const [changed = [], warnings = []] = z.array(Words).parse(JSON.parse(stdout));
  expect(changed).toEqual([`${setting("tcp_timeout_established")}=86400 (was 600)`, `${setting("tcp_be_liberal")}=1 (was 0)`]);
  expect(warnings.map((one) => one.split(" ")[0])).toEqual([setting("buckets"), setting("max")]);
  expect(warnings[1]).toContain(`run: sysctl -w ${setting("max")}=${2 ** 31}`);
  expect(await values()).toEqual([max, 86_400, 7_200, 1]);
  await sysctlsOn(host, stateDir, "restore({ dryRun: false })");
  expect(await values()).toEqual([max, 600, 7_200, 0]);
});
