import { afterAll, beforeAll, expect, test } from "vitest";
import { type Container, type Docker, startDocker } from "../fleet/docker.ts";
import { createFleet, type Fleet, type Host, type Program } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { type Api, fairlead, joinHost, openApi, servicesPath, startAgent, startServer, workloadsPath } from "./agent-rig.ts";
import { askHttp } from "./dataplane-rig.ts";

/** Containers that nobody published, reached from the whole fleet: `--docker-routed` on two hosts, one of each data plane, and a third one without Docker. */

let fleet: Fleet<readonly [Host, Host, Host]>;
let api: Api;
let server: Program;
let agents: Program[];
let near: Docker;
let far: Docker;
let a: Container;
let b: Container;
let vip: string;

const WEB = ["--label", "fairlead.service=web", "--label", "fairlead.port=http=8080", "--label", "fairlead.expose=true"];
const NEAR = "10.201.1.0/24";
const FAR = "10.201.2.0/24";

const stack = new AsyncDisposableStack();
beforeAll(async () => {
  fleet = stack.use(await createFleet({ hosts: 3 }));
  const [h1, h2, h3] = fleet.hosts;
  server = await startServer(h1);
  api = await openApi(h1);
  near = stack.use(await startDocker(fleet, h1, { daemonArgs: ["--bip", "10.201.1.1/24"] }));
  far = stack.use(await startDocker(fleet, h2, { daemonArgs: ["--bip", "10.201.2.1/24"] }));
  for (const host of fleet.hosts) await joinHost(host, { api, server: h1 });
  agents = await Promise.all([startNear(h1), startFar(h2), startAgent(h3)]);
  [a, b] = await Promise.all([near.runContainer("ca", { flags: WEB }), far.runContainer("cb", { flags: WEB })]);
  await Promise.all([serve(a, "a"), serve(b, "b")]);
  vip = await clusterIp("web");
});
afterAll(() => stack.disposeAsync());

const startNear = (host: Host) => startAgent(host, "--docker", near.socketPath, "--docker-routed");
const startFar = (host: Host) => startAgent(host, "--dataplane", "nftables", "--docker", far.socketPath, "--docker-routed");

async function serve(container: Container, id: string): Promise<void> {
  const http = await container.spawn("node", ["test/fleet/http-echo.ts", "--id", id, "--listen", "0.0.0.0:8080"]);
  await http.waitForLine(/^listening/);
}

async function clusterIp(name: string): Promise<string> {
  return await waitFor(
    async () => {
      const { status, body } = await api.call("GET", `${servicesPath}/${name}`);
      return status === 200 ? (body as { spec: { clusterIP: string } }).spec.clusterIP : undefined; // as proto/service.ts says
    },
    { what: `the service ${name}`, timeoutMs: 15_000 },
  );
}

interface Held {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly address: string; readonly reach?: string };
}

async function placed(name: string, isSo: (held: Held) => boolean): Promise<Held> {
  let last: unknown;
  return await waitFor(
    async () => {
      const { status, body } = await api.call("GET", `${workloadsPath}/${name}`);
      last = body;
      return status === 200 && isSo(body as Held) ? (body as Held) : undefined; // as proto/workload.ts says
    },
    { what: `${name} to be placed`, timeoutMs: 15_000 },
  ).catch((cause: unknown) => {
    throw new Error(`${name} is not placed so: ${JSON.stringify(last)}`, { cause });
  });
}

/** Who answers there, until these do, all of them and nobody else. */
async function untilAnsweredBy(from: Host, to: string, ids: readonly string[]): Promise<void> {
  let last: unknown;
  await waitFor(
    async () => {
      const { answers, failures } = await askHttp(from, to, { requests: 24 });
      last = { answers, failures };
      return Object.keys(failures).length === 0 && Object.keys(answers).toSorted().join() === ids.join();
    },
    { what: `${ids.join()} to answer on ${from.name}`, timeoutMs: 15_000 },
  ).catch((cause: unknown) => {
    throw new Error(`${ids.join()} did not answer on ${from.name} at ${to}, but ${JSON.stringify(last)}`, { cause });
  });
}

const peerRoutes = async (host: Host): Promise<readonly string[]> =>
  (await host.run("ip", ["route", "show", "protocol", "76"])).stdout.split("\n").flatMap((line) => /^(\S+ via \S+)/.exec(line)?.[1] ?? []);

async function untilTold(command: readonly string[], wanted: readonly RegExp[]): Promise<void> {
  let last = "";
  await waitFor(
    async () => {
      last = (await fleet.hosts[0].run(fairlead, command, { reject: false })).stdout.replaceAll(/\s+/g, " ");
      return wanted.every((one) => one.test(last));
    },
    { what: "people to be told", timeoutMs: 10_000 },
  ).catch((cause: unknown) => {
    throw new Error(`\`fairlead ${command.join(" ")}\` says only: ${last}`, { cause });
  });
}

test("a container that is not published serves all hosts, their containers and clients of their node ports, by its own address", async () => {
  const [h1, h2, h3] = fleet.hosts;
  const { spec, metadata } = await placed("ca-h1", (held) => held.spec.reach === undefined);
  expect(spec.address).toBe(a.ip);
  expect(metadata.annotations["fairlead.dev/address-reason"]).toMatch(/^bridge bridge, routed by --docker-routed/);
  await placed("cb-h2", (held) => held.spec.reach === undefined);
  const client = await far.runContainer("client");
  for (const from of [h1, h2, h3, client]) await untilAnsweredBy(from, `${vip}:8080`, ["a", "b"]);
  const { body } = await api.call("PATCH", `${servicesPath}/web`, { spec: { type: "NodePort" } });
  const [port] = (body as { spec: { ports: { nodePort: number }[] } }).spec.ports; // as proto/service.ts says
  for (const host of [h1, h2, h3]) await untilAnsweredBy(fleet.out, `${host.ip}:${port?.nodePort ?? 0}`, ["a", "b"]);
  expect(await peerRoutes(h1)).toEqual([`${FAR} via ${h2.ip}`]);
  expect((await peerRoutes(h3)).toSorted()).toEqual([`${NEAR} via ${h1.ip}`, `${FAR} via ${h2.ip}`]);
  expect((await h1.run(fairlead, ["describe", "node", "h2"])).stdout).toMatch(/Routed to it: +10\.201\.2\.0\/24/);
});

test("a stranger who sends there by a route of his own is not let in, hosts of the fleet are", async () => {
  const [h1, h2, h3] = fleet.hosts;
  await fleet.out.run("ip", ["route", "add", NEAR, "via", h1.ip]);
  await fleet.out.run("ip", ["route", "add", FAR, "via", h2.ip]);
  for (const to of [a.ip, b.ip]) {
    expect((await askHttp(h3, `${to}:8080`, { requests: 2 })).failures).toEqual({});
    expect((await askHttp(fleet.out, `${to}:8080`, { timeoutMs: 500 })).answers).toEqual({});
  }
});

test("the same network on two hosts: the first one has it, the other says what to do, and each goes on to serve its own", async () => {
  const [h1, h2, h3] = fleet.hosts;
  const same = ["network", "create", "--subnet", "172.29.0.0/16", "same"];
  const labels = ["--label", "fairlead.service=both", "--label", "fairlead.port=http=8080", "--label", "fairlead.expose=true"];
  await near.cli(...same);
  await waitFor(async () => (await peerRoutes(h3)).some((route) => route.startsWith("172.29.0.0/16")), { what: "the first one's route" });
  await far.cli(...same);
  // The same address on both hosts.
  const first = await near.runContainer("first", { network: "same", flags: labels });
  const second = await far.runContainer("second", { network: "same", flags: labels });
  expect(second.ip).toBe(first.ip);
  await Promise.all([serve(first, "first"), serve(second, "second")]);
  await placed("first-h1", ({ spec }) => spec.reach === undefined);
  const { metadata } = await placed(
    "second-h2",
    (held) => held.metadata.annotations["fairlead.dev/address-reason"]?.includes("daemon.json") === true,
  );
  const why =
    /172\.29\.0\.0\/16 overlaps 172\.29\.0\.0\/16 of the host h1; if it is Docker's: .*"default-address-pools":\[\{"base":"10\.2.*daemon\.json/;
  expect(metadata.annotations["fairlead.dev/address-reason"]).toMatch(why);
  const both = await clusterIp("both");
  await untilAnsweredBy(h1, `${both}:8080`, ["first"]);
  await untilAnsweredBy(h2, `${both}:8080`, ["second"]);
  await untilAnsweredBy(h3, `${both}:8080`, ["first"]);
  await untilTold(["describe", "node", "h2"], [/NetworkNotRouted/, /ContainersNotReached/]);
  await untilTold(["status"], [why, /containers in 172\.29\.0\.0\/16 of h1 are not reached from this host: this host's own network/]);
  await near.cli("rm", "--force", "first");
  await near.cli("network", "rm", "same");
  // Whose network it was has let go of it.
  await placed("second-h2", ({ spec }) => spec.reach === undefined);
  for (const from of [h1, h2, h3]) await untilAnsweredBy(from, `${both}:8080`, ["second"]);
  await far.cli("rm", "--force", "second");
  await far.cli("network", "rm", "same");
  await waitFor(async () => !(await peerRoutes(h3)).some((route) => route.startsWith("172.29")), { what: "the route to go" });
});

test("a route that somebody deletes comes back, and where somebody has made one of his own ours gives way", async () => {
  const [h1, h2, h3] = fleet.hosts;
  const ours = `${FAR} via ${h2.ip}`;
  await h3.run("ip", ["route", "delete", FAR]);
  await h1.run("ip", ["route", "add", "10.201.2.0/25", "via", fleet.out.ip]);
  const isSo = async (): Promise<boolean> => (await peerRoutes(h3)).includes(ours) && !(await peerRoutes(h1)).includes(ours);
  await waitFor(isSo, { what: "one to come back and one to give way", timeoutMs: 15_000 });
  await untilAnsweredBy(h1, `${vip}:8080`, ["a"]);
  await h1.run("ip", ["route", "delete", "10.201.2.0/25"]);
  for (const host of [h1, h3]) await untilAnsweredBy(host, `${vip}:8080`, ["a", "b"]);
});

test("rules that let the fleet in come back when somebody flushes them", async () => {
  const [h1, h2, h3] = fleet.hosts;
  for (const host of [h1, h2]) await host.run("iptables", ["-F", "FLR-OURS"]);
  await untilAnsweredBy(h3, `${vip}:8080`, ["a", "b"]);
  for (const to of [a.ip, b.ip]) expect((await askHttp(fleet.out, `${to}:8080`, { timeoutMs: 500 })).answers).toEqual({});
});

test("with the server gone, agents that are killed and started again change nothing", async () => {
  const [h1, h2, h3] = fleet.hosts;
  await server.stop();
  for (const agent of agents) await agent.kill();
  for (const from of [h1, h2, h3]) await untilAnsweredBy(from, `${vip}:8080`, ["a", "b"]);
  agents = await Promise.all([startNear(h1), startFar(h2), startAgent(h3)]);
  for (const from of [h1, h2, h3]) await untilAnsweredBy(from, `${vip}:8080`, ["a", "b"]);
  expect((await peerRoutes(h3)).toSorted()).toEqual([`${NEAR} via ${h1.ip}`, `${FAR} via ${h2.ip}`]);
  for (const to of [a.ip, b.ip]) expect((await askHttp(fleet.out, `${to}:8080`, { timeoutMs: 500 })).answers).toEqual({});
});

test("clean-up leaves nothing", async () => {
  for (const agent of agents) await agent.stop();
  for (const host of fleet.hosts) {
    const { stdout } = await host.run(fairlead, ["agent", "cleanup"]);
    expect(stdout).toMatch(/removed route 10\.201\.\d\.0\/24 via /);
    expect(await peerRoutes(host)).toEqual([]);
    for (const tool of ["iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save"])
      expect((await host.run(tool)).stdout).not.toMatch(/FL[A-Z]?-/);
  }
});
