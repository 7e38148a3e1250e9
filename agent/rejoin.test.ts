import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readMembership, writeMembership, type Joined } from "./config.ts";
import { joinedAnew, rejoinLoop } from "./rejoin.ts";

const before: Joined = {
  connection: { server: "https://192.0.2.1:7443", ca: "-----BEGIN CERTIFICATE-----\n", token: "fln.vm-1.old" },
  membership: {
    node: "vm-1",
    stateDir: "/var/lib/fairlead/agent",
    addresses: [],
    dnsStubs: [],
    dnsAllow: [],
    cluster: {
      domain: "cluster.local",
      serviceCidrs: ["10.96.0.0/16"],
      dnsIps: ["10.96.0.10"],
      nodePortRange: { from: 30_000, to: 32_767 },
      heartbeatIntervalMs: 1000,
      nodeTimeoutMs: 5000,
    },
  },
};

async function joinedAs({ connection, membership }: Joined): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fl-rejoin-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "node.yaml");
  await writeMembership(file, connection, membership);
  return file;
}

test("a new token, authority or address of the server is joining anew; the same ones, and no or a damaged file, are not", async () => {
  const file = await joinedAs(before);
  expect(await joinedAnew(file, before.connection)).toBeUndefined();
  for (const change of [{ token: "fln.vm-1.new" }, { ca: "another" }, { server: "https://192.0.2.2:7443" }]) {
    const next = { ...before, connection: { ...before.connection, ...change } };
    await writeMembership(file, next.connection, next.membership);
    expect(await joinedAnew(file, before.connection)).toEqual(next);
  }
  await writeFile(file, "half a fi");
  expect(await joinedAnew(file, before.connection)).toBeUndefined();
  await rm(file);
  expect(await joinedAnew(file, before.connection)).toBeUndefined();
});

test("the file is looked at only while the server does not hear this host, and until it is another", async () => {
  const file = await joinedAs(before);
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const next = { ...before, connection: { ...before.connection, token: "fln.vm-1.new" } };
  await writeMembership(file, next.connection, next.membership);
  let asked = 0;
  const found: Joined[] = [];
  await rejoinLoop(
    {
      credentialsFile: file,
      connection: before.connection,
      isOutOfTouch: () => ++asked > 1,
      onRejoin: (joined) => found.push(joined),
    },
    stop.signal,
  );
  expect(asked).toBe(2);
  expect(found).toEqual([await readMembership(file)]);
});
