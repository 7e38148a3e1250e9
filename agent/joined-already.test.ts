import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Membership, writeMembership } from "./config.ts";
import { joinedAlready } from "./joined-already.ts";

const cluster = {
  domain: "cluster.local",
  nodePortRange: { from: 30_000, to: 32_767 },
  serviceCidrs: ["10.96.0.0/16"],
  dnsIps: ["10.96.0.10"],
  heartbeatIntervalMs: 1000,
  nodeTimeoutMs: 5000,
};

async function aHost(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-joined-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return join(folder, "node.yaml");
}

async function joinedHost(): Promise<string> {
  const file = await aHost();
  const membership = Membership.parse({ node: "h2", cluster });
  await writeMembership(file, { server: "https://10.0.0.5:7443", ca: "ca", token: "secret" }, membership);
  return file;
}

test("a host that has joined is told what it is, without a token and without asking anybody", async () => {
  const credentialsFile = await joinedHost();
  for (const name of [undefined, "h2"])
    expect(await joinedAlready({ server: "https://10.0.0.5:7443/", name, credentialsFile })).toMatchObject({ node: "h2" });
});

test.for([
  { server: "https://10.0.0.6:7443", name: undefined, says: "h2 of the fleet at https://10.0.0.5:7443, not at https://10.0.0.6:7443" },
  { server: "https://10.0.0.5:7443", name: "h3", says: "has joined https://10.0.0.5:7443 as h2, not as h3" },
])("a host of another fleet, or of another name, is not taken for it: $says", async ({ server, name, says }) => {
  const credentialsFile = await joinedHost();
  await expect(joinedAlready({ server, name, credentialsFile })).rejects.toMatchObject({
    message: expect.stringContaining(says) as string,
    hint: expect.stringContaining("cleanup --purge") as string,
  });
});

test("a host that has not joined, or whose file is damaged, joins", async () => {
  const credentialsFile = await aHost();
  expect(await joinedAlready({ server: "https://10.0.0.5:7443", name: undefined, credentialsFile })).toBeUndefined();
  await writeFile(credentialsFile, "{");
  expect(await joinedAlready({ server: "https://10.0.0.5:7443", name: undefined, credentialsFile })).toBeUndefined();
});
