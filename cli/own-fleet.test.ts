import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { stringify } from "yaml";
import { hasJoinedItself, type HostFiles } from "./own-fleet.ts";

async function aHost(): Promise<{ folder: string; files: HostFiles }> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-fleet-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return { folder, files: { nodeConfig: join(folder, "node.yaml"), serverSettings: join(folder, "server.yaml") } };
}

function authority(name: string): string {
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null"];
  return execFileSync("openssl", ["req", "-x509", ...curve, "-subj", `/CN=${name}`], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
}

async function joinFleet({ nodeConfig }: HostFiles, ca: string): Promise<void> {
  const cluster = { server: "https://10.0.0.5:7443", "certificate-authority-data": Buffer.from(ca).toString("base64") };
  await writeFile(
    nodeConfig,
    stringify({
      clusters: [{ name: "fairlead", cluster }],
      users: [{ name: "node-h2", user: { token: "secret" } }],
      contexts: [{ name: "fairlead", context: { cluster: "fairlead", user: "node-h2" } }],
      "current-context": "fairlead",
    }),
  );
}

test("a host that has joined the server in its own data folder is of its own fleet, wherever the settings have put that", async () => {
  const { folder, files } = await aHost();
  expect(await hasJoinedItself(files, folder)).toBe(false);
  const ca = authority("one");
  await writeFile(join(folder, "ca.crt"), ca);
  await joinFleet(files, ca);
  expect(await hasJoinedItself(files, folder)).toBe(true);
  await writeFile(files.serverSettings, stringify({ dataDir: folder }));
  expect(await hasJoinedItself(files, undefined)).toBe(true);
});

test.for(["another server's", "none"])(
  "a host that has joined a fleet, and whose data folder has %s authority, is of another",
  async (whose) => {
    const { folder, files } = await aHost();
    await joinFleet(files, authority("theirs"));
    if (whose !== "none") await writeFile(join(folder, "ca.crt"), authority("ours"));
    await expect(hasJoinedItself(files, folder)).rejects.toMatchObject({
      message: expect.stringContaining("this host is h2 of the fleet at https://10.0.0.5:7443") as string,
      hint: expect.stringContaining("cleanup --purge") as string,
    });
  },
);
