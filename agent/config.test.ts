import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { dnsStubsOf, membershipFile, readMembership, writeMembership } from "./config.ts";

const membership = {
  node: "vm-1",
  stateDir: "/state",
  addresses: [],
  dnsStubs: [],
  cluster: {
    domain: "cluster.local",
    serviceCidrs: ["10.96.0.0/16"],
    dnsIps: ["10.96.0.10"],
    nodePortRange: { from: 30_000, to: 32_767 },
    heartbeatIntervalMs: 1000,
    nodeTimeoutMs: 5000,
  },
};

async function credentials(text?: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fl-config-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, "node.yaml");
  await writeMembership(file, { server: "https://10.0.0.5:7443", ca: "pem", token: "fln.secret" }, membership);
  if (text !== undefined) await writeFile(file, text);
  return file;
}

test("what joining has left is read back", async () => {
  expect(await readMembership(await credentials())).toEqual({
    connection: { server: "https://10.0.0.5:7443", ca: "pem", token: "fln.secret" },
    membership,
  });
});

test.for([
  ["garbage", "<object>: "],
  ["", "<object>: "],
  ["clusters: []\nusers: []\n", "clusters: "],
  ["clusters: []\nusers: [{ user: fln.secret }]\n", "users[0].user: "],
  ["clusters: []\nusers: [{ user: { token: [fln.secret] } }]\n", "users[0].user.token: "],
  ["users: {{ fln.secret", " at line 1"],
])("a credential that reads %j is damaged, and the message names the field and not what stands there", async ([text, place]) => {
  const file = await credentials(text);
  const error = await readMembership(file).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "Usage", message: expect.stringContaining(`${file} is damaged: `) as unknown, cause: undefined });
  const { message } = error as Error;
  expect(message).toContain(place);
  expect(message).not.toMatch(/secret|[{\n]/);
});

test("stub domains that the operator wrote into agent.yaml are read, and kept when the host joins again", async () => {
  const file = await credentials();
  const text = await readFile(membershipFile(file), "utf8");
  await writeFile(membershipFile(file), text.replace("dnsStubs: []", ""));
  expect(await dnsStubsOf(file)).toEqual([]); // as older agents left it
  await appendFile(membershipFile(file), "\ndnsStubs: [corp.example=10.0.0.1]\n");
  expect((await readMembership(file)).membership.dnsStubs).toEqual(["corp.example=10.0.0.1"]);
  expect(await dnsStubsOf(file)).toEqual(["corp.example=10.0.0.1"]);
});

test("a stub domain in agent.yaml that is none is told with its place", async () => {
  const file = await credentials();
  const text = await readFile(membershipFile(file), "utf8");
  await writeFile(membershipFile(file), text.replace("dnsStubs: []", "dnsStubs: [corp.example]"));
  await expect(readMembership(file)).rejects.toThrow(/agent\.yaml is damaged: dnsStubs\[0\]: .*want DOMAIN=ADDRESS/);
});
