import { beforeAll, expect, test } from "vitest";
import { runInUml } from "#test/fleet/uml.ts";

/** Somebody whose kernel cannot do IPVS is told what it is that it lacks. */

const TIMEOUT_MS = 240_000;
let said: Record<string, unknown> = {};

beforeAll(async () => {
  const program = { command: process.execPath, args: ["test/e2e/ipvs-probe-program.ts"], timeoutMs: TIMEOUT_MS };
  const { stdout, stderr, exitCode } = await runInUml(program);
  if (exitCode !== 0) throw new Error(`the program ended with ${exitCode}: ${stderr.slice(-4_000)}`);
  said = JSON.parse(stdout) as Record<string, unknown>;
}, TIMEOUT_MS + 10_000);

test.for<readonly [string, RegExp]>([
  ["ip_vs", /^the kernel has no virtual servers \(modules ip_vs, ip_vs_rr, ip_vs_wrr\): .*Can't initialize ipvs/],
  ["ip_vs_wrr", /^the kernel has no virtual servers \(modules ip_vs, ip_vs_rr, ip_vs_wrr\): .*[Ss]cheduler/],
  ["ip_set_hash_ipportnet", /^the kernel cannot make our sets: .*\[create FLV-4-RANGED hash:ip,port,net /],
  ["xt_ipvs", /^the kernel or iptables has no xt_ipvs: /],
  ["xt_recent", /^the kernel or iptables has no xt_recent: /],
])("a kernel without %s", ([module, why]) => {
  expect(said[module]).toMatchObject({ usable: false, why: expect.stringMatching(why) as unknown, hint: expect.any(String) as unknown });
});

test("a kernel that has it all", () => {
  expect(said["nothing"]).toMatchObject({ usable: true });
});
