import { beforeAll, describe, expect, test } from "vitest";
import { checkFlows } from "./flow-checks.ts";
import type { Walked } from "./flow-walk.ts";
import { startGuests, type Guests } from "./ipvs-guests.ts";

/** All about IPVS that takes a kernel which has it, in User-Mode Linux. In one file, because two guests run at once, and files do not. */

const FLOWS = "test/e2e/flows-ipvs-program.ts";
const PROBE = "test/e2e/ipvs-probe-program.ts";
const OVER_TIME = "test/e2e/ipvs-program.ts";

const TIMEOUT_MS = 600_000;
let guests: Guests;

beforeAll(() => {
  const flows = { file: FLOWS, memory: "1500M", timeoutMs: TIMEOUT_MS };
  guests = startGuests([flows, { file: OVER_TIME, timeoutMs: TIMEOUT_MS }, { file: PROBE, timeoutMs: TIMEOUT_MS }], 2);
});

checkFlows("ipvs", {
  mode: "ipvs",
  timeoutMs: TIMEOUT_MS + 10_000,
  walk: async () => (await guests.said(FLOWS)) as Walked[],
});

describe("over time", () => {
  let seen: Record<string, unknown> = {};

  beforeAll(async () => {
    seen = (await guests.said(OVER_TIME)) as typeof seen;
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
    ["a UDP client that keeps its socket gets the new endpoint", "udp: the same socket comes to the other endpoint", "5302"],
    ["iptables takes over from IPVS", "switch: only iptables", ["FL-"]],
    ["and IPVS from iptables", "switch: only ipvs", ["FLV-"]],
    ["without a refused connection", "switch: connections", { enough: true, failures: {} }],
  ])("%s", ([, what, wanted]) => {
    expect(seen[what]).toEqual(wanted);
  });
});

describe("somebody whose kernel cannot do IPVS is told what it is that it lacks", () => {
  let said: Record<string, unknown> = {};

  beforeAll(async () => {
    said = (await guests.said(PROBE)) as typeof said;
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
});
