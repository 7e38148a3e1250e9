import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createFleet, type Fleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead, serveHttp } from "./agent-rig.ts";
import { DATAPLANES_HERE, type Neighbourhood, openNeighbourhood, type Place, rulesOn, untilAnswered } from "./coexistence-rig.ts";

/** Real ufw and firewalld, as Debian has them, in a host's own namespaces: they deny what comes in and what is routed, and we let through what is ours. */

const SERVICE_RANGE = "10.96.0.0/16";
const NODE_PORT = 30080;

interface Firewall {
  readonly name: string;
  start(host: Host): Promise<void>;
  reload(host: Host): Promise<void>;
}

const ufw: Firewall = {
  name: "ufw",
  async start(host) {
    await host.run("ufw", ["--force", "enable"]);
    await this.reload(host); // which brings two rules more than the first start
  },
  async reload(host) {
    await host.run("ufw", ["reload"]);
  },
};

const firewalld: Firewall = {
  name: "firewalld",
  async start(host) {
    await host.run("mkdir", ["-p", "/run/dbus"]);
    await host.spawn("dbus-daemon", ["--system", "--nofork", "--nopidfile"]);
    await waitFor(async () => (await host.run("test", ["-S", "/run/dbus/system_bus_socket"], { reject: false })).exitCode === 0, {
      what: "the message bus",
    });
    const daemon = await host.spawn("firewalld", ["--nofork", "--nopid"]);
    await waitFor(async () => (await host.run("firewall-cmd", ["--state"], { reject: false })).exitCode === 0, {
      what: "firewalld",
      timeoutMs: 20_000,
      intervalMs: 200,
    }).catch(async (cause: unknown) => {
      throw new Error(`firewalld did not start: ${await daemon.output()}`, { cause });
    });
  },
  async reload(host) {
    await host.run("firewall-cmd", ["--reload"]);
  },
};

interface World extends AsyncDisposable {
  readonly fleet: Fleet<readonly [Host, Host]>;
  readonly neighbourhood: Neighbourhood;
  readonly vip: Readonly<Record<string, string>>;
  readonly rulesBefore: string;
}

async function openWorld(firewall: Firewall, dataplane: string, backend: "nft" | "legacy"): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const fleet = stack.use(await createFleet({ hosts: 2, containersPerHost: 2, containerNetwork: "routed", backend }));
  const [host, remote] = fleet.hosts;
  for (const name of ["h1", "h1c1", "h1c2", "h2"]) await serveHttp(fleet.host(name), name);
  await fleet.out.run("ip", ["route", "add", SERVICE_RANGE, "via", host.ip]);
  await firewall.start(host);
  const rulesBefore = await rulesOn(host, "all");
  const neighbourhood = await openNeighbourhood({ host, server: remote, agentFlags: ["--dataplane", dataplane] });
  const behind: Record<string, Place> = {
    h1: { ip: host.ip, port: 8080, node: "h1" },
    h1c1: { ip: fleet.host("h1c1").ip, port: 8080, node: "h1" },
    h2: { ip: remote.ip, port: 8080, node: "h2" },
  };
  const vip: Record<string, string> = {};
  for (const [index, [name, place]] of Object.entries(behind).entries())
    vip[name] = await neighbourhood.serve(name, place, {
      type: "NodePort",
      ports: [{ name: "http", port: 80, nodePort: NODE_PORT + index }],
    });
  await untilAnswered(neighbourhood, host, { to: vip["h2"] ?? "", by: "h2" });
  const all = stack.move();
  return { fleet, neighbourhood, vip, rulesBefore, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

// firewalld writes nftables only.
const HOSTS = [ufw, firewalld].flatMap((firewall) =>
  DATAPLANES_HERE.filter(({ backend }) => firewall !== firewalld || backend === "nft").map((one) => ({ firewall, ...one })),
);

describe.for(HOSTS)("beside $firewall.name, $dataplane:", ({ firewall, dataplane, backend }) => {
  let world: World;
  beforeAll(async () => {
    world = await openWorld(firewall, dataplane, backend);
  });
  afterAll(() => world[Symbol.asyncDispose]());
  const machine = (name: string): Host => (name === "out" ? world.fleet.out : world.fleet.host(name));

  const rows = [
    { from: "h1", to: "h1" },
    { from: "h1", to: "h1c1" },
    { from: "h1", to: "h2" },
    { from: "h1c2", to: "h1" },
    { from: "h1c2", to: "h1c1" },
    { from: "h1c2", to: "h2" },
    { from: "out", to: "h1" },
    { from: "out", to: "h1c1" },
    { from: "out", to: "h2" },
  ];
  test.for(rows)("$from → virtual IP → $to", async ({ from, to }) => {
    expect(await world.neighbourhood.reach(machine(from), world.vip[to] ?? "")).toBe(to);
  });

  test.for(["h1", "h1c1", "h2"])("out → node port → %s", async (to) => {
    const port = NODE_PORT + ["h1", "h1c1", "h2"].indexOf(to);
    expect(await world.neighbourhood.reach(world.fleet.out, `${world.fleet.hosts[0].ip}:${port}`)).toBe(to);
  });

  // firewalld refuses in nftables, where nobody else can accept; Docker puts its bridges into a zone of firewalld's that lets them ask.
  if (firewall === ufw)
    test("a container finds names, over UDP and TCP, and nobody else on the LAN may ask", async () => {
      const { fleet, vip } = world;
      const ask = async (from: Host, ...words: string[]): Promise<string> => {
        const args = ["+short", "+tries=1", "+time=2", ...words, "@10.96.0.10", "h2.default.svc.cluster.local"];
        return (await from.run("dig", args, { reject: false })).stdout;
      };
      for (const over of ["+notcp", "+tcp"]) {
        expect(await ask(fleet.host("h1c2"), over)).toBe(vip["h2"]);
        expect(await ask(fleet.out, over)).not.toContain(vip["h2"]);
      }
    });

  test("what the firewall denies stays denied where nobody made a Service of it", async () => {
    const { fleet, neighbourhood } = world;
    const [host] = fleet.hosts;
    const container = fleet.host("h1c1").ip;
    expect(await neighbourhood.reach(fleet.out, `${host.ip}:8080`)).not.toBe("h1");
    await fleet.out.run("ip", ["route", "add", `${container}/32`, "via", host.ip]);
    expect(await neighbourhood.reach(fleet.out, `${container}:8080`)).not.toBe("h1c1");
  });

  test("a reload of the firewall, and everything is as it was within a second", async () => {
    const { fleet, neighbourhood, vip, rulesBefore } = world;
    const [host] = fleet.hosts;
    await firewall.reload(host);
    const back = async (): Promise<boolean> =>
      (await neighbourhood.reach(fleet.out, vip["h1"] ?? "")) === "h1" && (await neighbourhood.reach(host, vip["h2"] ?? "")) === "h2";
    await waitFor(back, { what: "virtual IPs after the reload", timeoutMs: 3_000 });
    expect(await rulesOn(host, "foreign")).toBe(rulesBefore);
  });

  test("after 1,000 random changes, and after cleanup, every rule of others is byte for byte what it was", async () => {
    const { neighbourhood, fleet, rulesBefore, vip } = world;
    const [host, remote] = fleet.hosts;
    await neighbourhood.changeAtRandom(1000);
    const last = await neighbourhood.serve("last", { ip: remote.ip, port: 8080, node: "h2" });
    await untilAnswered(neighbourhood, host, { to: last, by: "h2" });
    expect(await rulesOn(host, "foreign")).toBe(rulesBefore);
    expect(await neighbourhood.reach(fleet.out, vip["h1c1"] ?? "")).toBe("h1c1");
    await neighbourhood.agent.stop();
    await host.run(fairlead, ["agent", "cleanup"]);
    expect(await rulesOn(host, "all")).toBe(rulesBefore);
  });
});
