import { beforeAll, expect, test } from "vitest";
import { runInUml } from "#test/fleet/uml.ts";

/** What IPVS does over time; what it does with each single packet is in flows-ipvs.e2e.test.ts. */

const TIMEOUT_MS = 400_000;
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
])("%s", ([, what, wanted]) => {
  expect(seen[what]).toEqual(wanted);
});
