import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { AppError } from "#proto/error.ts";
import type { Drift } from "./driver.ts";
import { openKernelTools, type HostTools } from "./exec.ts";
import { hasTraces, markTable, partsBeside, restoreIpvsSettings } from "./leftovers.ts";
import { chooseDriver, openDriver, withRetry } from "./select.ts";
import type { Sysctls } from "./sysctl.ts";

const signal = new AbortController().signal;
const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
const sysctls = { ensure: async () => [], restore: async () => [] };

/** A host on which only these programs are there, and all of them do what they are told. */
function hostWith(...programs: readonly string[]): HostTools {
  const isThere = (file: string): boolean => file === "ip" || file === "cat" || programs.some((program) => file.startsWith(program));
  return {
    ...openKernelTools(),
    has: async (file) => isThere(file),
    run: async (file) => {
      if (!isThere(file)) throw new AppError("KernelRejected", `${file} is not installed, or not in the PATH`);
      return { stdout: "", stderr: "", exitCode: 0 };
    },
  };
}

async function procNet(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fl-procnet-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, "xt_recent"));
  for (const [name, text] of Object.entries({ dev: "", ...files })) await writeFile(join(folder, name), text);
  return folder;
}

const choose = (dataplane: string, tools: HostTools, more: { family?: "IPv4" | "IPv6"; procNet?: string } = {}) =>
  chooseDriver({ dataplane, family: "IPv4", tools, sysctls, log, ...more }, signal);

test("auto takes nftables where it works", async () => {
  const { driver, why } = { why: "", ...(await choose("auto", hostWith("nft", "iptables", "unshare"))) };
  expect(driver?.name).toBe("nftables");
  expect(why).toContain("the kernel has all");
  driver?.close();
});

test("auto goes on to iptables and says what was passed over; a mode that was asked for is that or none", async () => {
  const tools = hostWith("iptables", "unshare");
  const chosen = await choose("auto", tools);
  expect(chosen.driver?.name).toBe("iptables");
  expect(chosen.driver && chosen.why).toMatch(/^iptables-legacy: .*; not nftables: nft is not installed/);
  chosen.driver?.close();
  const refused = await choose("nftables", tools);
  expect(refused.driver).toBeUndefined();
  expect(refused.driver === undefined && refused.unusable.message).toMatch(/nftables cannot be used here: nft is not installed/);
  expect(refused.driver === undefined && refused.unusable.hint).toBe("apt-get install nftables");
});

test("a kernel without IPv6 is asked for nothing else", async () => {
  const nowhere = await choose("auto", hostWith("nft"), { family: "IPv6", procNet: await procNet({}) });
  expect(nowhere.driver === undefined && nowhere.unusable.message).toBe("no IPv6 here: the kernel of this host has no IPv6");
});

test("with the rules, the flows that could not be forgotten are looked after; first the rules", async () => {
  let retries = 0;
  let drift: Drift = { intact: false, missing: ["nat"] };
  const bare = await openDriver({ dataplane: "iptables", family: "IPv4", tools: hostWith(), sysctls, log });
  const driver = withRetry(
    { ...bare, verify: async () => drift },
    {
      retry: async () => {
        retries++;
      },
    },
  );
  await driver.verify(signal);
  expect(retries).toBe(0);
  drift = { intact: true };
  expect(await driver.verify(signal)).toEqual({ intact: true });
  expect(retries).toBe(1);
  driver.close();
});

test("a mode that there is not is refused with those that there are", async () => {
  const asked = openDriver({ dataplane: "ebpf", family: "IPv4", tools: hostWith(), sysctls, log });
  await expect(asked).rejects.toThrow('there is no data plane "ebpf"');
});

test("whoever takes over a family removes the other modes of it, and all of a family that the fleet no longer has", () => {
  const words = (parts: ReturnType<typeof partsBeside>): string[] => parts.map(({ mode, family }) => `${mode} ${family}`);
  expect(words(partsBeside({ mode: "nftables", family: "IPv4" }, ["IPv4", "IPv6"]))).toEqual(["iptables IPv4", "ipvs IPv4"]);
  expect(words(partsBeside({ mode: "ipvs", family: "IPv4" }, ["IPv4"]))).toEqual([
    "nftables IPv4",
    "nftables IPv6",
    "iptables IPv4",
    "iptables IPv6",
    "ipvs IPv6",
  ]);
});

test("what an agent has left shows without listing any rules", async () => {
  const none = await procNet({});
  const rules = await procNet({ "xt_recent/FL-nat-PREROUTING": "", "xt_recent/FLP6-filter-INPUT": "" });
  const device = await procNet({ dev: "Inter-|\n    lo: 0\nfairlead0: 0 0\n" });
  const look = (mode: "iptables" | "nftables" | "ipvs", family: "IPv4" | "IPv6", at: string): Promise<boolean> =>
    hasTraces({ mode, family }, { tools: hostWith("iptables"), stateDir: at, procNet: at }, signal);
  expect(await Promise.all([look("iptables", "IPv4", none), look("nftables", "IPv4", none), look("ipvs", "IPv4", none)])).toEqual([
    false,
    false,
    false,
  ]);
  expect(await Promise.all([look("iptables", "IPv4", rules), look("iptables", "IPv6", rules), look("nftables", "IPv4", rules), look("nftables", "IPv6", rules)])).toEqual([true, false, false, true]); // prettier-ignore
  expect(await look("ipvs", "IPv6", device)).toBe(true);
  await markTable(none, "IPv6"); // here is no nft, which would know
  expect(await Promise.all([look("nftables", "IPv4", none), look("nftables", "IPv6", none)])).toEqual([false, true]);
});

test("what IPVS has set goes back when the last of it has gone, and what all modes share stays", async () => {
  const settings = ["net.ipv4.vs.conntrack", "net/ipv4/conf/eth0.5/arp_ignore", "net.ipv4.ip_forward", "net/ipv6/conf/eth0/accept_ra"];
  const restore: Sysctls["restore"] = async ({ only = () => true }) => settings.filter(only);
  const after = async (dev: string): Promise<readonly string[]> =>
    restoreIpvsSettings({ sysctls: { ...sysctls, restore }, procNet: await procNet({ dev }) });
  expect(await after("Inter-|\n    lo: 0\nfairlead0: 0 0\n")).toEqual([]);
  expect(await after("Inter-|\n    lo: 0\n")).toEqual(settings.slice(0, 2));
});
