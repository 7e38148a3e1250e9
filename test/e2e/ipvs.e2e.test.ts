import { beforeAll, expect, test } from "vitest";
import { runInUml } from "#test/fleet/uml.ts";

/** What IPVS does over time; what it does with each single packet is in flows-ipvs.e2e.test.ts. */

const TIMEOUT_MS = 800_000;
let seen: Record<string, unknown> = {};

beforeAll(async () => {
  const { stdout, stderr, exitCode } = await runInUml({
    command: process.execPath,
    args: ["test/e2e/ipvs-program.ts"],
    timeoutMs: TIMEOUT_MS,
  });
  if (exitCode !== 0) throw new Error(`the program ended with ${exitCode}: ${stderr.slice(-4_000)}`);
  seen = JSON.parse(stdout) as Record<string, unknown>;
}, TIMEOUT_MS + 10_000);

const OTHERS = "-A -t 192.0.2.1:80 -s wlc";
const DRAINING = [
  "-A -t 10.96.0.10:80 -s rr",
  OTHERS,
  "-a -t 10.96.0.10:80 -r 172.30.0.2:8081 -m -w 0",
  "-a -t 10.96.0.10:80 -r 172.30.0.2:8082 -m -w 1",
];

test.for<readonly [string, string, unknown]>([
  ["shares are exactly those of the weights", "weights", { answers: { 8081: 10, 8082: 30 }, failures: {} }],
  ["a client with affinity stays where it is", "affinity", [[10], []]],
  ["an endpoint that goes gets no new connections", "drain: new connections", { answers: { 8082: 6 }, failures: {} }],
  ["and keeps the one that is open", "drain: the open connection goes on", true],
  ["with weight 0, next to the virtual server of somebody else", "drain: weights", DRAINING],
  ["a restart does not disturb an open connection", "restart: the open connection goes on", true],
  ["and changes nothing", "restart: the same", DRAINING],
  ["an endpoint without connections is taken away", "drain: idle", true],
  ["somebody's ipvsadm -C is seen at once", "damage: seen", ["1 of 1 virtual servers"]],
  ["and repaired", "damage: repaired", { answers: { 8082: 2 }, failures: {}, within15s: true }],
  ["a scheduler whose module is missing gives way", "scheduler: instead of mh", "-A -t 10.96.0.10:80 -s rr"],
  [
    "and a warning says so, after one about the host's other virtual servers, for whose sake the idle time stays",
    "scheduler: told",
    [
      expect.stringContaining("others are on this host (-t 192.0.2.1:80)"),
      expect.stringContaining("the kernel has no scheduler mh (module ip_vs_mh)"),
    ],
  ],
  ["a UDP client that keeps its socket gets the new endpoint", "udp: the same socket comes to the other endpoint", "second"],
  ["iptables takes over from IPVS", "switch: only iptables", ["FL-"]],
  ["and IPVS from iptables", "switch: only ipvs", ["FLV-"]],
  ["without a refused connection", "switch: connections", { enough: true, failures: {} }],
])("%s", ([, what, wanted]) => {
  expect(seen[what]).toEqual(wanted);
});
