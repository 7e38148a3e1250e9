import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { aHostTable } from "#test/tables.ts";
import { openSysctls, type Requirement } from "./sysctl.ts";

const behindBridges = aHostTable({ localCidrs: ["172.17.0.0/16"] });
const behindBoth = aHostTable({ localCidrs: ["172.17.0.0/16", "fd00:17::/64"], serviceCidrs: ["10.96.0.0/16", "fd10::/112"] });
const FORWARD = "net/ipv4/ip_forward";
const FORWARD6 = "net/ipv6/conf/all/forwarding";
const acceptRa = (device: string): string => `net/ipv6/conf/${device}/accept_ra`;

/** A folder that looks like /proc/sys. */
async function aHost(settings: Record<string, string>) {
  const folder = await mkdtemp(join(tmpdir(), "sysctl-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const procSys = join(folder, "sys");
  const stateDir = join(folder, "state");
  const set = (name: string, value: string) => writeFile(join(procSys, name), `${value}\n`);
  for (const [name, value] of Object.entries({ "kernel/random/boot_id": "first-boot", ...settings })) {
    await mkdir(dirname(join(procSys, name)), { recursive: true });
    await set(name, value);
  }
  const value = async (name = FORWARD) => (await readFile(join(procSys, name), "utf8")).trim();
  const open = (requirements: readonly Requirement[] = []) => openSysctls({ stateDir, requirements, procSys });
  return { open, value, set, stateDir, procSys };
}

test("forwarding is turned on where it was off, and cleanup of a later run turns it off again", async () => {
  const { open, value, stateDir } = await aHost({ [FORWARD]: "0" });
  expect(await open().ensure(behindBridges)).toEqual(["net.ipv4.ip_forward=1 (was 0)"]);
  expect(await open().ensure(behindBridges)).toEqual([]);
  expect(await value()).toBe("1");
  expect(await open().restore({ dryRun: true })).toEqual(["sysctl net.ipv4.ip_forward back to 0"]);
  expect(await value()).toBe("1");
  expect(await open().restore({ dryRun: false })).toEqual(["sysctl net.ipv4.ip_forward back to 0"]);
  expect(await value()).toBe("0");
  expect(await readdir(stateDir)).toEqual([]);
  expect(await open().restore({ dryRun: false })).toEqual([]);
});

test("what was right already, or is not needed, is left alone, and cleanup with it", async () => {
  const on = await aHost({ [FORWARD]: "1" });
  expect(await on.open().ensure(behindBridges)).toEqual([]);
  expect(await on.open().restore({ dryRun: false })).toEqual([]);
  expect(await on.value()).toBe("1");
  const alone = await aHost({ [FORWARD]: "0" });
  expect(await alone.open().ensure({ ...behindBridges, localCidrs: [] })).toEqual([]);
  expect(await alone.value()).toBe("0");
});

test("what only one mode needs can be put back by itself, and the rest is known to a later cleanup", async () => {
  const { open, value, stateDir } = await aHost({ [FORWARD]: "0", "net/ipv4/vs/conntrack": "0" });
  await open([{ name: "net.ipv4.vs.conntrack", value: "1", why: "for a test" }]).ensure(behindBridges);
  const only = (name: string): boolean => name.startsWith("net.ipv4.vs.");
  expect(await open().restore({ dryRun: true, only })).toEqual(["sysctl net.ipv4.vs.conntrack back to 0"]);
  expect(await open().restore({ dryRun: false, only })).toEqual(["sysctl net.ipv4.vs.conntrack back to 0"]);
  expect([await value("net/ipv4/vs/conntrack"), await value()]).toEqual(["0", "1"]);
  expect(await open().restore({ dryRun: false, only })).toEqual([]);
  expect(await open().restore({ dryRun: false })).toEqual(["sysctl net.ipv4.ip_forward back to 0"]);
  expect(await readdir(stateDir)).toEqual([]);
});

test("what somebody changed since is theirs", async () => {
  const { open, value, set } = await aHost({ [FORWARD]: "0" });
  await open().ensure(behindBridges);
  await set(FORWARD, "2");
  expect(await open().restore({ dryRun: false })).toEqual([]);
  expect(await value()).toBe("2");
});

test("what was set before the last boot is nobody's any more", async () => {
  const { open, value, set } = await aHost({ [FORWARD]: "0" });
  await open().ensure(behindBridges);
  await set("kernel/random/boot_id", "second-boot"); // and somebody's sysctl.conf turns it on from now on
  expect(await open().ensure(behindBridges)).toEqual([]);
  expect(await open().restore({ dryRun: false })).toEqual([]);
  expect(await value()).toBe("1");
});

test("IPv6 forwarding is for dual-stack fleets whose containers have IPv6, and each family's driver sets its own", async () => {
  const host = { [FORWARD]: "0", [FORWARD6]: "0" };
  const dual = await aHost(host);
  expect(await dual.open().ensure(behindBoth, { family: "IPv4" })).toEqual(["net.ipv4.ip_forward=1 (was 0)"]);
  expect(await dual.value(FORWARD6)).toBe("0");
  expect(await dual.open().ensure(behindBoth, { family: "IPv6" })).toEqual(["net.ipv6.conf.all.forwarding=1 (was 0)"]);
  const single = await aHost(host);
  expect(await single.open().ensure({ ...behindBoth, serviceCidrs: ["10.96.0.0/16"] }, { family: "IPv6" })).toEqual([]);
  expect(await single.open().ensure({ ...behindBoth, localCidrs: ["172.17.0.0/16"] }, { family: "IPv6" })).toEqual([]);
});

test("a host without containers forwards where services are reached from elsewhere", async () => {
  const { open, value } = await aHost({ [FORWARD]: "0", [FORWARD6]: "0" });
  expect(await open().ensure(aHostTable({ forwards: ["IPv4"] }))).toEqual(["net.ipv4.ip_forward=1 (was 0)"]);
  expect(await value(FORWARD6)).toBe("0");
  expect(await open().ensure(aHostTable({ forwards: ["IPv4", "IPv6"] }))).toEqual(["net.ipv6.conf.all.forwarding=1 (was 0)"]);
});

test("a host that learns its routes from router advertisements goes on doing so, and is put back as it was", async () => {
  const before = {
    [FORWARD6]: "0",
    [acceptRa("eth0")]: "1",
    [acceptRa("eth0.5")]: "1",
    [acceptRa("eth1")]: "0",
    [acceptRa("eth2")]: "2",
    [acceptRa("br-lan")]: "1",
    [acceptRa("br-0123456789ab")]: "1",
    [acceptRa("docker0")]: "1",
    [acceptRa("vethab12")]: "1",
    [acceptRa("all")]: "1",
    [acceptRa("default")]: "1",
  };
  const { open, value } = await aHost(before);
  expect(await open().ensure(behindBoth, { family: "IPv6" })).toEqual([
    "net/ipv6/conf/br-lan/accept_ra=2 (was 1)",
    "net/ipv6/conf/eth0/accept_ra=2 (was 1)",
    "net/ipv6/conf/eth0.5/accept_ra=2 (was 1)",
    "net.ipv6.conf.all.forwarding=1 (was 0)",
  ]);
  const changed = { [acceptRa("br-lan")]: "2", [acceptRa("eth0")]: "2", [acceptRa("eth0.5")]: "2" };
  const now = () => Promise.all(Object.keys(before).map(async (name) => [name, await value(name)]));
  expect(Object.fromEntries(await now())).toEqual({ ...before, [FORWARD6]: "1", ...changed });
  expect(await open().restore({ dryRun: false })).toHaveLength(4);
  expect(Object.fromEntries(await now())).toEqual(before);
});

test("a driver's own settings are set and put back too, also by somebody who does not know them", async () => {
  const conntrack = { name: "net.ipv4.vs.conntrack", value: "1", why: "answers must find their way back" };
  const rare = { name: "net.ipv4.vs.rare", value: "1", why: "newer kernels do without", mayLack: true };
  const { open, value } = await aHost({ "net/ipv4/vs/conntrack": "0" });
  expect(await open().ensure(aHostTable(), { more: [conntrack, rare] })).toEqual(["net.ipv4.vs.conntrack=1 (was 0)"]);
  expect(await open().restore({ dryRun: false })).toEqual(["sysctl net.ipv4.vs.conntrack back to 0"]);
  expect(await value("net/ipv4/vs/conntrack")).toBe("0");
  expect(await open([conntrack]).ensure(aHostTable())).toEqual(["net.ipv4.vs.conntrack=1 (was 0)"]);
  await expect(open([{ ...rare, mayLack: false }]).ensure(aHostTable())).rejects.toThrow("the kernel has no setting net.ipv4.vs.rare");
});

test("drivers that set at the same time forget nothing of each other", async () => {
  const names = Array.from({ length: 20 }, (_, i) => `net.ipv4.vs.s${i}`);
  const { open, value } = await aHost(Object.fromEntries(names.map((name) => [name.replaceAll(".", "/"), "0"])));
  const set = (name: string) => open([{ name, value: "1", why: "a test" }]).ensure(aHostTable());
  await Promise.all(names.map(set));
  expect(await open().restore({ dryRun: false })).toHaveLength(20);
  expect(await value("net/ipv4/vs/s7")).toBe("0");
});

test("a damaged file leads nowhere else, and one that was cut short to nothing", async () => {
  const { open, value, stateDir } = await aHost({ [FORWARD]: "1", "kernel/panic": "1" });
  await mkdir(stateDir);
  const settings = { "net/../kernel/panic": { before: "9", set: "1" }, "kernel.panic": { before: "9", set: "1" } };
  for (const text of [JSON.stringify({ boot: "first-boot", settings }), '{"boot":"first-boot","settin', "[]"]) {
    await writeFile(join(stateDir, "sysctls.json"), text);
    expect(await open().restore({ dryRun: false })).toEqual([]);
  }
  expect(await value("kernel/panic")).toBe("1");
});
