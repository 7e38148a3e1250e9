import { beforeAll, describe, expect, test } from "vitest";
import { rows } from "#test/packet/flows/table.ts";
import { checkFlows } from "./flow-checks.ts";
import { faultsSeen, type Walked } from "./flow-walk.ts";
import type { Cuts } from "./ipvs-cuts.ts";
import type { Spread } from "./ipvs-choices.ts";
import type { Held } from "./ipvs-closed.ts";
import type { History } from "./ipvs-histories.ts";
import type { Repair } from "./ipvs-damage.ts";
import { startGuests, type Guests } from "./ipvs-guests.ts";

/** All that takes a kernel with IPVS or SCTP, in User-Mode Linux. In one file, which runs two guests at once and no more. */

const FLOWS = "test/e2e/flows-ipvs-program.ts";
const SCTP = "test/e2e/flows-sctp-program.ts";
const PROBE = "test/e2e/ipvs-probe-program.ts";
const OVER_TIME = "test/e2e/ipvs-program.ts";
const BESIDE = "test/e2e/ipvs-beside-program.ts";
const HOLDS = "test/e2e/ipvs-holds-program.ts";
const AGENT = "test/e2e/ipvs-agent-program.ts";

/** Three to four minutes for all of them, where nobody else is on the machine. */
const TIMEOUT_MS = 900_000;
let guests: Guests;

beforeAll(() => {
  const others = [BESIDE, OVER_TIME, HOLDS, AGENT, SCTP, PROBE].map((file) => ({ file, timeoutMs: TIMEOUT_MS }));
  guests = startGuests([{ file: FLOWS, memory: "1500M", timeoutMs: TIMEOUT_MS }, ...others], 2);
});

checkFlows("ipvs", {
  mode: "ipvs",
  hasSctp: true,
  timeoutMs: 2 * TIMEOUT_MS,
  walk: async () => (await guests.said(FLOWS)) as Walked[],
});

test("SCTP through iptables", { timeout: 2 * TIMEOUT_MS }, async () => {
  const walked = (await guests.said(SCTP)) as Walked[];
  const asked = walked.map(({ row }) => rows[row]?.to ?? "");
  expect(asked.filter((to) => to.endsWith("/sctp"))).toHaveLength(2); // one of each family
  for (const { row: index, family, seen } of walked) {
    const row = rows[index];
    expect(row ? faultsSeen(row, "iptables", family, seen) : ["no such row"], row?.name).toEqual([]);
  }
});

describe("over time", () => {
  let seen: Record<string, unknown> = {};

  beforeAll(async () => {
    seen = (await guests.said(OVER_TIME)) as typeof seen;
  }, 2 * TIMEOUT_MS);

  const OTHERS = "-A -t 192.0.2.1:80 -s wlc";
  const DRAINING = [
    "-A -t 10.96.0.10:80 -s rr",
    OTHERS,
    "-a -t 10.96.0.10:80 -r 172.30.0.2:8081 -m -w 0",
    "-a -t 10.96.0.10:80 -r 172.30.0.2:8082 -m -w 1",
  ];

  const SCHEDULERS = ["rr", "wrr", "lc", "sh -b sh-fallback", "mh -b mh-fallback"].map(
    (words, i) => `-A -t 10.96.0.${51 + i}:80 -s ${words}`,
  );

  test.for<readonly [string, string, unknown]>([
    ["shares are exactly those of the weights", "weights", { answers: { 8081: 10, 8082: 30 }, failures: {} }],
    ["a client with affinity stays where it is", "affinity", [[10], []]],
    ["an endpoint that goes gets no new connections", "drain: new connections", { answers: { 8082: 6 }, failures: {} }],
    ["and keeps the one that is open", "drain: the open connection goes on", true],
    ["with weight 0, next to the virtual server of somebody else", "drain: weights", DRAINING],
    ["a restart does not disturb an open connection", "restart: the open connection goes on", true],
    ["and changes nothing", "restart: the same", DRAINING],
    ["an endpoint without connections is taken away", "drain: idle", true],
    ["the annotation's scheduler is the kernel's", "schedulers", SCHEDULERS],
    [
      "a client with affinity stays for as long as the service says, and may then come to another endpoint",
      "stay",
      Object.fromEntries(
        ["load balancer", "external IP", "node port"].map((place) => [place, { endpoints: 1, isLongEnough: true, movesOn: true }]),
      ),
    ],
    ["a scheduler whose module is missing gives way", "scheduler: instead of sed", "-A -t 10.96.0.10:80 -s rr"],
    [
      "and a warning says so, after one about the host's other virtual servers, for whose sake the idle time stays",
      "scheduler: told",
      [
        expect.stringContaining("others are on this host (-t 192.0.2.1:80)"),
        expect.stringContaining("the kernel has no scheduler sed (module ip_vs_sed)"),
      ],
    ],
    ["a UDP client that keeps its socket gets the new endpoint", "udp: the same socket comes to the other endpoint", "5302"],
  ])("%s", ([, what, wanted]) => {
    expect(seen[what]).toEqual(wanted);
  });

  test.for([
    ...["ClusterIP", "load balancer", "external IP", "node port"].map((place) => `${place}: persistence`),
    ...["mh", "sh"].map((hash) => `node port, policy Local: ${hash}`),
  ])("40 clients with affinity, each at one of 4 endpoints: %s", (place) => {
    const { isSticky, failures, clients } = (seen["spread"] as Record<string, Spread>)[place] ?? { clients: [] };
    expect({ isSticky, failures, endpoints: clients.length }).toEqual({ isSticky: true, failures: 0, endpoints: 4 });
    // Persistence gives new clients in turns; a hash gives each endpoint 10 of them, with a standard deviation of 2.7.
    if (place.endsWith(": persistence")) expect(clients).toEqual([10, 10, 10, 10]);
    else expect(Math.min(...clients)).toBeGreaterThanOrEqual(4);
  });

  test("a write that is cut at any moment, as where the agent is killed, is mended by the next start: nothing is missing, nothing too much", () => {
    const { cut, differences } = seen["cuts"] as Cuts;
    expect(differences).toEqual([]);
    expect(cut).toBeGreaterThanOrEqual(2);
  });

  test.for<readonly [string, string]>([
    ["ipvsadm -C", "15 of 15 virtual servers"],
    ["a rule with a set", "mangle INPUT: our jump"],
    ["an emptied set", "the set FLV-4-PLACES: 0 of 1 entries"],
    ["the address of the range", "1 addresses of fairlead0"],
    ["the device", "the device fairlead0"],
  ])("somebody takes away: %s", ([what, missing]) => {
    const repair = (seen["damage"] as Record<string, Repair>)[what];
    expect(repair).toMatchObject({ missing: [missing], isServed: true });
    // A second is 125 starts of a process on a machine that takes 8 ms for one; here one takes 100 ms or, beside others, 500.
    expect(repair?.starts.repaired).toBeLessThan(125);
  });
});

describe("whatever happens", () => {
  let seen: Record<string, unknown> = {};

  beforeAll(async () => {
    seen = (await guests.said(HOLDS)) as typeof seen;
  }, 2 * TIMEOUT_MS);

  test.for(["IPv4", "IPv6"])("random changes end in what one sync of the last table writes: %s", (family) => {
    const { services, differences } = seen[`history, ${family}`] as History;
    expect(differences).toEqual([]);
    expect(services).toBeGreaterThan(10);
  });

  test("IPVS and iptables take over from each other without a lost connection, and one that is open goes on", () => {
    const rules = ["FL-", "FLV-"];
    expect(seen["switches"]).toEqual({ rules, isEnough: true, failures: [], ended: [] });
  });

  test.for(["ipset flush", "all tables of iptables", "all of it, an older file, sets destroyed"])(
    "nobody from outside of a load balancer's source ranges gets in, nor to a process of the host itself: %s",
    (damage) => {
      expect((seen["ranges"] as Record<string, Held>)[damage]).toEqual({ leaked: [], friend: ["172.30.0.1:8443", "[fd30::1]:8443"] });
    },
  );
});

describe("a real server and agent", () => {
  let seen: Record<string, unknown> = {};

  beforeAll(async () => {
    seen = (await guests.said(AGENT)) as typeof seen;
  }, 2 * TIMEOUT_MS);

  const SERVED = { enough: true, failures: {} };

  test.for<readonly [string, string, unknown]>([
    ["a service is reached that was made", "made", true],
    ["by IPVS", "rules", ["FLV-"]],
    ["and by its new endpoint after a change", "changed", true],
    ["also while no agent runs", "killed", "at-8081"],
    ["an agent that is started again, in another mode, brings what was changed meanwhile", "restarted", true],
    ["and takes over, as IPVS does from it, without a lost connection", "switch", { host: SERVED, container: SERVED }],
    ["a cleanup says that nothing is left", "cleanup", { exitCode: 0, stdout: "nothing of Fairlead is left on this host" }],
    ["and it is so", "left", []],
  ])("%s", ([, what, wanted]) => {
    expect(seen[what]).toEqual(wanted);
  });
});

describe("beside what others have", () => {
  let seen: Record<string, unknown> = {};

  beforeAll(async () => {
    seen = (await guests.said(BESIDE)) as typeof seen;
  }, 2 * TIMEOUT_MS);

  const PORTS_OPEN = [[], [32_000], [32_001], [], [32_000], []];

  test.for<readonly [string, string, unknown]>([
    ["Docker's rules, FORWARD DROP: everybody reaches every endpoint", "docker", []],
    ["and also after Docker has put itself first again", "docker: after a new network", []],
    ["firewalld's rules, INPUT and FORWARD refuse: the same", "firewalld", []],
    ["what firewalld refuses, it still refuses", "firewalld: other ports stay closed", "EHOSTUNREACH"],
    ["health-check ports are let in as long as they are there, and where they are asked", "health ports, IPv4", PORTS_OPEN],
    ["health-check ports of IPv6", "health ports, IPv6", PORTS_OPEN],
    ["a cleanup does what it says", "cleanup: says what it then does", { same: true, enough: true }],
    ["a second one finds nothing", "cleanup: a second one", []],
    ["and everything is as it was", "cleanup: what is left is not what was there", []],
  ])("%s", ([, what, wanted]) => {
    expect(seen[what]).toEqual(wanted);
  });
});

describe("somebody whose kernel cannot do IPVS is told what it is that it lacks", () => {
  let said: Record<string, unknown> = {};

  beforeAll(async () => {
    said = (await guests.said(PROBE)) as typeof said;
  }, 2 * TIMEOUT_MS);

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
