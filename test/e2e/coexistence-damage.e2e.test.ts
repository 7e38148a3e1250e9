import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createFleet, type Fleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { ask, serveHttp } from "./agent-rig.ts";
import { DATAPLANES_HERE, type Neighbourhood, openNeighbourhood, untilAnswered } from "./coexistence-rig.ts";

/** Others flush what is ours, with the commands that people and boot scripts use: repaired within a second, and closed meanwhile. */

const LB_ADDRESS = "192.0.2.80";
const REPAIRED_WITHIN_MS = 1_000;

const FLUSH_ALL = "iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X; true";

interface World extends AsyncDisposable {
  readonly fleet: Fleet<readonly [Host, Host]>;
  readonly neighbourhood: Neighbourhood;
  readonly vip: string;
  readonly oldRules: string;
}

async function openWorld(dataplane: string, backend: "nft" | "legacy"): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const fleet = stack.use(await createFleet({ hosts: 2, containersPerHost: 1, containerNetwork: "routed", backend }));
  const [host, remote] = fleet.hosts;
  await serveHttp(remote, "h2");
  await fleet.out.run("ip", ["route", "add", `${LB_ADDRESS}/32`, "via", host.ip]);
  const oldRules = (await host.run("iptables-save")).stdout;
  const neighbourhood = await openNeighbourhood({
    host,
    server: remote,
    agentFlags: ["--dataplane", dataplane],
    serverFlags: ["--load-balancer-cidr", "192.0.2.0/24"],
  });
  const vip = await neighbourhood.serve("web", { ip: remote.ip, port: 8080, node: "h2" });
  await neighbourhood.serve(
    "closed",
    { ip: remote.ip, port: 8080, node: "h2" },
    { type: "LoadBalancer", loadBalancerIP: LB_ADDRESS, loadBalancerSourceRanges: [`${fleet.host("h1c1").ip}/32`] },
  );
  await untilAnswered(neighbourhood, fleet.host("h1c1"), { to: LB_ADDRESS, by: "h2" });
  const all = stack.move();
  return { fleet, neighbourhood, vip, oldRules, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

describe.for(DATAPLANES_HERE)("$dataplane, when others", ({ dataplane, backend }) => {
  let world: World;
  beforeAll(async () => {
    world = await openWorld(dataplane, backend);
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const damages: { name: string; command: readonly string[]; input?: () => string; only?: "legacy" | "nft" }[] = [
    { name: "flush the filter table", command: ["iptables", "-F"] },
    { name: "flush the nat table", command: ["iptables", "-t", "nat", "-F"] },
    { name: "flush everything of both tables and delete the chains", command: ["sh", "-c", FLUSH_ALL] },
    { name: "restore a file from before us", command: ["iptables-restore"], input: () => world.oldRules },
    { name: "flush the whole rule set", command: ["nft", "flush", "ruleset"], only: "nft" },
  ];
  const possible = damages.filter(({ only }) => only === undefined || only === backend);

  test.for(possible)("$name: repaired within a second, and no source range is open meanwhile", async ({ command, input }) => {
    const { fleet, vip } = world;
    const [host] = fleet.hosts;
    const [file = "", ...args] = command;
    const [inside, ranged] = await Promise.all([watchGaps(host, vip), watchGaps(fleet.host("h1c1"), LB_ADDRESS)]);
    // From off the range, as fast as one after the other goes: before, during and after.
    const outsider = ask(fleet.out, 150, `http://${LB_ADDRESS}/`, "--timeout-ms", "20");
    await host.run(file, args, input ? { input: input() } : {});
    expect(await inside()).toBeLessThan(REPAIRED_WITHIN_MS);
    expect(await ranged()).toBeLessThan(REPAIRED_WITHIN_MS);
    expect((await outsider).answers).toEqual({});
  });

  test("an Event says that rules were repaired, and which", async () => {
    const events = await waitFor(
      async () => {
        const { body } = await world.neighbourhood.api.call("GET", "/api/v1/events");
        const { items } = body as { items: { reason: string; message?: string; note?: string }[] }; // from our own server
        const repaired = items.filter(({ reason }) => reason === "RulesRepaired");
        return repaired.length > 0 ? repaired : undefined;
      },
      { what: "an Event RulesRepaired", timeoutMs: 10_000 },
    );
    expect(JSON.stringify(events)).toMatch(/put back: .*(nat|filter|table)/);
  });

  test("hold the lock of xtables longer than anybody waits for it, a change comes in when they let go", async () => {
    const { fleet, neighbourhood } = world;
    const [host, remote] = fleet.hosts;
    const holder = await host.spawn("flock", ["/run/xtables.lock", "sh", "-c", "echo held; exec sleep 7"]);
    await holder.waitForLine(/held/);
    const vip = await neighbourhood.serve("meanwhile", { ip: remote.ip, port: 8080, node: "h2" });
    expect(await neighbourhood.reach(host, world.vip)).toBe("h2"); // what was there goes on
    await holder.ended;
    await waitFor(async () => (await neighbourhood.reach(host, vip)) === "h2", { what: "the change", timeoutMs: 8_000 });
  });
});

/** Asks on and on; then says how long it was without an answer, in ms. */
async function watchGaps(from: Host, to: string): Promise<() => Promise<number>> {
  const program = await from.spawn("node", ["test/e2e/coexistence-gap.ts", "--url", `http://${to}/`, "--for-ms", "4000"]);
  await program.waitForLine(/running/);
  return async () => {
    const [line] = await program.waitForLine(/^\{.*\}$/, { timeoutMs: 20_000 });
    return (JSON.parse(line) as { longest_gap_ms: number }).longest_gap_ms; // as it says of itself
  };
}
