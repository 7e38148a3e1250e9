import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { membershipFile, operatorsOwn, readMembership, writeMembership } from "./config.ts";

const membership = {
  node: "vm-1",
  stateDir: "/state",
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

test("what the operator wrote into agent.yaml is read, and kept when the host joins again", async () => {
  const file = await credentials();
  const text = await readFile(membershipFile(file), "utf8");
  await writeFile(membershipFile(file), text.replace(/^(dnsStubs|dnsAllow): \[\]$/gm, ""));
  expect(await operatorsOwn(file)).toEqual({ dnsStubs: [], dnsAllow: [] }); // as older agents left it
  const own = { dnsStubs: ["corp.example=10.0.0.1"], dnsAllow: ["192.168.7.0/24"] };
  await appendFile(membershipFile(file), "\ndnsStubs: [corp.example=10.0.0.1]\ndnsAllow: [192.168.7.0/24]\n");
  expect((await readMembership(file)).membership).toMatchObject(own);
  expect(await operatorsOwn(file)).toEqual(own);
});

test.for([
  ["dnsStubs", "corp.example", "want DOMAIN=ADDRESS"],
  ["dnsAllow", "0.0.0.0/0", "want ADDRESS/PREFIX"],
] as const)("%s: [%s] in agent.yaml is told with its place", async ([field, value, want]) => {
  const file = await credentials();
  const text = await readFile(membershipFile(file), "utf8");
  await writeFile(membershipFile(file), text.replace(`${field}: []`, `${field}: [${value}]`));
  await expect(readMembership(file)).rejects.toThrow(new RegExp(`agent\\.yaml is damaged: ${field}\\[0\\]: .*${want}`));
});
