import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Container, type Docker, startDocker } from "../fleet/docker.ts";
import { createFleet, type Fleet, type Host } from "../fleet/fleet.ts";
import { fairlead, serveHttp } from "./agent-rig.ts";
import { DATAPLANES_HERE, type Neighbourhood, openNeighbourhood, type Place, rulesOn, untilAnswered } from "./coexistence-rig.ts";

/**
 * A real Docker on the host, which has given FORWARD the policy DROP: who gets where through a virtual IP, and that Docker's rules are as they were.
 * Docker's own port of a container is reached as before, and what its user forbids in DOCKER-USER stays forbidden.
 */

const SERVICE_RANGE = "10.96.0.0/16";

interface World extends AsyncDisposable {
  readonly fleet: Fleet<readonly [Host, Host]>;
  readonly docker: Docker;
  readonly neighbourhood: Neighbourhood;
  /** unpublished, published at 18080, on a network of its own. */
  readonly containers: { readonly quiet: Container; readonly shown: Container; readonly apart: Container };
  readonly rulesBefore: string;
  /** Virtual IPs, by who is behind them. */
  readonly vip: Readonly<Record<string, string>>;
}

async function openWorld(dataplane: string, backend: "nft" | "legacy", daemonArgs: readonly string[]): Promise<World> {
  await using stack = new AsyncDisposableStack(); // daemons end before their hosts, also when the world comes only half into being
  const fleet = stack.use(await createFleet({ hosts: 2, backend }));
  const [host, remote] = fleet.hosts;
  const docker = stack.use(await startDocker(fleet, host, { daemonArgs }));
  const remoteDocker = stack.use(await startDocker(fleet, remote));
  await docker.cli("network", "create", "apart");
  const containers = {
    quiet: await docker.runContainer("quiet"),
    shown: await docker.runContainer("shown", { publish: "18080:8080" }),
    apart: await docker.runContainer("apart", { network: "apart" }),
  };
  const far = await remoteDocker.runContainer("far", { publish: "28080:8080" });
  for (const [id, container] of Object.entries({ ...containers, far })) await serveHttp(container, id);
  await serveHttp(host, "host");
  await fleet.out.run("ip", ["route", "add", SERVICE_RANGE, "via", host.ip]);
  const rulesBefore = await rulesOn(host, "all");
  const neighbourhood = await openNeighbourhood({ host, server: remote, agentFlags: ["--dataplane", dataplane] });
  const behind: Record<string, Place> = {
    quiet: { ip: containers.quiet.ip, port: 8080, node: host.name },
    shown: { ip: containers.shown.ip, port: 8080, node: host.name },
    apart: { ip: containers.apart.ip, port: 8080, node: host.name },
    published: { ip: host.ip, port: 18080, node: host.name },
    far: { ip: remote.ip, port: 28080, node: remote.name },
    host: { ip: host.ip, port: 8080, node: host.name },
  };
  const vip: Record<string, string> = {};
  for (const [name, place] of Object.entries(behind)) vip[name] = await neighbourhood.serve(name, place);
  await untilAnswered(neighbourhood, host, { to: vip["host"] ?? "", by: "host" });
  const all = stack.move();
  return { fleet, docker, neighbourhood, containers, rulesBefore, vip, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

describe.for(DATAPLANES_HERE)("beside Docker, $dataplane:", ({ dataplane, backend }) => {
  let world: World;
  beforeAll(async () => {
    world = await openWorld(dataplane, backend, []);
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const machine = (name: string): Host => {
    const { fleet, containers } = world;
    return { host: fleet.hosts[0], out: fleet.out, ...containers }[name] ?? fleet.host(name);
  };

  const rows = [
    { from: "host", to: "quiet", by: "quiet" },
    { from: "host", to: "far", by: "far" },
    { from: "host", to: "published", by: "shown" },
    { from: "host", to: "apart", by: "apart" },
    { from: "quiet", to: "shown", by: "shown" },
    { from: "quiet", to: "far", by: "far" },
    { from: "quiet", to: "published", by: "shown" },
    { from: "quiet", to: "host", by: "host" },
    { from: "quiet", to: "apart", by: "apart" },
    { from: "apart", to: "quiet", by: "quiet" },
    { from: "out", to: "published", by: "shown" },
    { from: "out", to: "shown", by: "shown" },
    { from: "out", to: "quiet", by: "quiet" },
    { from: "out", to: "apart", by: "apart" },
    { from: "out", to: "host", by: "host" },
    { from: "out", to: "far", by: "far" },
  ];
  test.for(rows)("$from → virtual IP → $to", async ({ from, to, by }) => {
    expect(await world.neighbourhood.reach(machine(from), world.vip[to] ?? "")).toBe(by);
  });

  test("Docker's policy is DROP, and its published port is reached as before, by Docker's own rules", async () => {
    const [host] = world.fleet.hosts;
    expect(world.rulesBefore).toContain(":FORWARD DROP");
    expect(await world.neighbourhood.reach(world.fleet.out, `${host.ip}:18080`)).toBe("shown");
  });

  test("a container that nobody published and that has no Service is not reached past us", async () => {
    const [host] = world.fleet.hosts;
    const { out } = world.fleet;
    await out.run("ip", ["route", "add", "172.17.0.0/16", "via", host.ip]);
    expect(await world.neighbourhood.reach(out, `${world.containers.quiet.ip}:8080`)).toBe("timeout");
    await out.run("ip", ["route", "del", "172.17.0.0/16"]);
  });

  test("what DOCKER-USER forbids stays forbidden at published ports, and is not in the way of virtual IPs", async () => {
    const [host] = world.fleet.hosts;
    const { out } = world.fleet;
    const deny = ["DOCKER-USER", "-s", out.ip, "-j", "DROP"];
    await host.run("iptables", ["-w", "-I", ...deny]);
    try {
      expect(await world.neighbourhood.reach(out, `${host.ip}:18080`)).toBe("timeout");
      expect(await world.neighbourhood.reach(out, world.vip["quiet"] ?? "")).toBe("quiet");
    } finally {
      await host.run("iptables", ["-w", "-D", ...deny]);
    }
  });

  // Docker's ground: with its proxy, the ports of its bridges send nothing back where it came from, and only it may change that (dataplane/README).
  test("a container reaches itself once its bridge port sends back where it came from, and not before", async () => {
    const { neighbourhood, containers, vip } = world;
    const [host] = world.fleet.hosts;
    expect(await neighbourhood.reach(containers.quiet, vip["quiet"] ?? "")).toBe("timeout");
    await host.run("ip", ["link", "set", containers.quiet.port, "type", "bridge_slave", "hairpin", "on"]);
    expect(await neighbourhood.reach(containers.quiet, vip["quiet"] ?? "")).toBe("quiet");
  });

  test("Docker may make and remove networks and containers meanwhile, and both go on", async () => {
    const { docker, neighbourhood, vip, fleet } = world;
    await docker.cli("network", "create", "later");
    const later = await docker.runContainer("later", { network: "later", publish: "18081:8080" });
    await serveHttp(later, "later");
    expect(await neighbourhood.reach(fleet.out, `${fleet.hosts[0].ip}:18081`)).toBe("later");
    expect(await neighbourhood.reach(later, vip["far"] ?? "")).toBe("far");
    expect(await neighbourhood.reach(fleet.out, vip["quiet"] ?? "")).toBe("quiet");
    await docker.cli("rm", "--force", "later");
    await docker.cli("network", "rm", "later");
  });

  test("after 1,000 random changes, and after cleanup, every rule of others is byte for byte what it was", async () => {
    const { neighbourhood, fleet, rulesBefore, vip } = world;
    const [host] = fleet.hosts;
    await neighbourhood.changeAtRandom(1000);
    const last = await neighbourhood.serve("last", { ip: host.ip, port: 8080, node: host.name });
    await untilAnswered(neighbourhood, host, { to: last, by: "host" });
    expect(await rulesOn(host, "foreign")).toBe(rulesBefore);
    expect(await neighbourhood.reach(fleet.out, vip["quiet"] ?? "")).toBe("quiet");

    await neighbourhood.agent.stop();
    const cleanup = await host.run(fairlead, ["agent", "cleanup"]);
    expect(cleanup.exitCode).toBe(0);
    expect(await rulesOn(host, "all")).toBe(rulesBefore);
  });
});

test("where Docker's proxy is off, a container reaches itself too; its published port is no endpoint for its own host", async () => {
  await using world = await openWorld("iptables-nft", "nft", ["--userland-proxy=false"]);
  const { fleet, neighbourhood, containers, vip } = world;
  expect(await neighbourhood.reach(containers.quiet, vip["quiet"] ?? "")).toBe("quiet");
  expect(await neighbourhood.reach(containers.shown, vip["shown"] ?? "")).toBe("shown");
  expect(await neighbourhood.reach(fleet.out, vip["quiet"] ?? "")).toBe("quiet");
  expect(await neighbourhood.reach(fleet.hosts[1], `${fleet.hosts[0].ip}:18080`)).toBe("shown");
  // A connection is translated once, by us; Docker's own translation of the port comes too late, and what listens there only keeps the port busy.
  expect(await neighbourhood.reach(fleet.hosts[0], vip["published"] ?? "")).toBe("timeout");
});
