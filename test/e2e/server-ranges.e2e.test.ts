import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";

/** The check of the virtual range against the routes of the host, with the real `ip` in a network namespace. */

const MAIN = fileURLToPath(new URL("../../server/main.ts", import.meta.url));

async function aNetwork(address: string): Promise<string> {
  const name = `fl-range-${randomBytes(3).toString("hex")}`;
  await execa("ip", ["netns", "add", name]);
  onTestFinished(async () => {
    await execa("ip", ["netns", "del", name]);
  });
  for (const argv of [
    ["link", "add", "lan0", "type", "veth", "peer", "name", "lan1"],
    ["link", "set", "lan1", "up"],
    ["link", "set", "lan0", "up"],
    ["addr", "add", address, "dev", "lan0"],
  ])
    await execa("ip", ["-n", name, ...argv]);
  return name;
}

async function startIn(network: string, more: readonly string[]) {
  const dir = await mkdtemp(join(tmpdir(), "fairlead-range-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  await writeFile(join(dir, "server.yaml"), "");
  const files = ["--config", join(dir, "server.yaml"), "--data-dir", join(dir, "data"), "--kubeconfig-out", join(dir, "admin.yaml")];
  const argv = ["netns", "exec", network, "node", MAIN, "--listen", "0.0.0.0:7443", ...files, ...more];
  return execa("ip", argv, { reject: false, timeout: 20_000 });
}

test.for([
  ["10.96.7.1/24", "10.96.0.0/16", "10.96.7.0/24"],
  ["10.1.2.3/8", "10.96.0.0/16", "10.0.0.0/8"],
  ["fd00:10::1/64", "fd00:10::/112", "fd00:10::/64"],
])("a host at %s cannot have the range %s: the route %s is named", async ([address = "", range = "", route = ""]) => {
  const { exitCode, stderr } = await startIn(await aNetwork(address), ["--service-cidr", range]);
  expect(stderr).toContain(`fairlead server: the service range ${range} overlaps the route ${route} dev lan0 of this host`);
  expect(exitCode).toBe(2);
});
