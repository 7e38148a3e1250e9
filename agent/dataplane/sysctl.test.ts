import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { aHostTable } from "#test/tables.ts";
import { openSysctls } from "./sysctl.ts";

const behindBridges = aHostTable({ localCidrs: ["172.17.0.0/16"] });

/** A folder that looks like /proc/sys. */
async function aHost(forwarding: string) {
  const folder = await mkdtemp(join(tmpdir(), "sysctl-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, "sys/net/ipv4/ip_forward");
  await mkdir(join(folder, "sys/net/ipv4"), { recursive: true });
  await writeFile(file, `${forwarding}\n`);
  const stateDir = join(folder, "state");
  const open = () => openSysctls({ stateDir, procSys: join(folder, "sys") });
  const value = async () => (await readFile(file, "utf8")).trim();
  return { open, value, stateDir, set: (text: string) => writeFile(file, text) };
}

test("forwarding is turned on where it was off, and cleanup of a later run turns it off again", async () => {
  const { open, value, stateDir } = await aHost("0");
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
  const on = await aHost("1");
  expect(await on.open().ensure(behindBridges)).toEqual([]);
  expect(await on.open().restore({ dryRun: false })).toEqual([]);
  expect(await on.value()).toBe("1");
  const alone = await aHost("0");
  expect(await alone.open().ensure({ ...behindBridges, localCidrs: [] })).toEqual([]);
  expect(await alone.value()).toBe("0");
});

test("what somebody changed since is theirs", async () => {
  const { open, value, set } = await aHost("0");
  await open().ensure(behindBridges);
  await set("2");
  expect(await open().restore({ dryRun: false })).toEqual([]);
  expect(await value()).toBe("2");
});
