import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import type { KernelTools } from "../exec.ts";
import { createIptablesDriver, type IptablesDriverDeps } from "./driver.ts";

const signal = new AbortController().signal;
const web = aCompiled([aFrontend({ backends: [aBackend("172.30.0.2")] })]);
const table = aTable([], aHostTable({ localCidrs: ["10.200.1.0/24"] }));

/** Tools of a host with empty tables, that remember what was restored; `refuse` = how many of the next restores fail. */
function aHost(more: Partial<IptablesDriverDeps> = {}) {
  const restored: string[] = [];
  const warnings: string[] = [];
  const host = { refuse: 0, restored, warnings };
  const tools: KernelTools = {
    has: async (file) => !file.includes("legacy"),
    read: async () => undefined,
    run: async (file, _args, { input = "" } = {}) => {
      if (file.endsWith("-restore")) {
        if (host.refuse-- > 0) throw new AppError("KernelRejected", "refused");
        restored.push(input);
      }
      return { stdout: file === "iptables" ? "iptables v1.8.9 (nf_tables)" : "", stderr: "", exitCode: 0 };
    },
  };
  const driver = createIptablesDriver({
    tools,
    flows: { afterChange: async () => 0, afterSync: async () => 0 },
    sysctls: { ensure: async () => [], restore: async () => [] },
    log: { info: () => undefined, warn: (_, message) => warnings.push(message), error: () => undefined },
    ...more,
  });
  return { ...host, host, driver };
}

test("a sysctl that cannot be set is warned about, and the rules are written all the same", async () => {
  const ensure = () => Promise.reject(new AppError("KernelRejected", "net.ipv4.ip_forward is 0 and cannot be set to 1"));
  const { driver, restored, warnings } = aHost({ sysctls: { ensure, restore: async () => [] } });
  await driver.sync(table, signal);
  expect(restored).toHaveLength(1);
  expect(warnings).toEqual(["net.ipv4.ip_forward is 0 and cannot be set to 1"]);
});

test("an update needs a sync before it, and one more after the kernel has refused something", async () => {
  const { driver, host } = aHost();
  const change = { key: web.key, previous: undefined, next: web };
  await expect(driver.update([change], signal)).rejects.toThrow("a sync must come first");
  await driver.sync(table, signal);
  host.refuse = 1;
  await expect(driver.update([change], signal)).rejects.toThrow("refused");
  await expect(driver.update([change], signal)).rejects.toThrow("a sync must come first");
  await driver.sync({ ...table, services: new Map([[web.key, web]]) }, signal);
  await driver.update([{ key: web.key, previous: web, next: undefined }], signal);
  expect(host.restored).toHaveLength(3);
});

test("a host without iptables is told what to install", async () => {
  const nothing = { has: async () => false, read: async () => undefined, run: () => Promise.reject(new Error("nothing is installed")) };
  const { driver } = aHost({ tools: nothing });
  expect(await driver.probe(signal)).toEqual({
    usable: false,
    why: "neither iptables-nft nor iptables-legacy is installed",
    hint: "apt-get install iptables",
  });
});
