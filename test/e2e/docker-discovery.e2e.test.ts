import { afterAll, beforeAll, expect, test } from "vitest";
import { execa } from "execa";
import { mkdtemp, rm, writeFile, mkdir, copyFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Container, type Docker, startDocker } from "../fleet/docker.ts";
import { createFleet, type Fleet, type Host, type Program } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { type Api, fairlead, joinHost, openApi, startAgent, startServer, workloadsPath } from "./agent-rig.ts";
import { askHttp } from "./dataplane-rig.ts";

/** Two Docker hosts, whose labelled containers are Workloads by themselves: `fairlead agent --docker`. */

let fleet: Fleet<readonly [Host, Host]>;
let api: Api;
let near: Docker;
let far: Docker;
let agent: Program;
let vip: string;

const WEB = ["--label", "fairlead.service=web", "--label", "fairlead.port=http=8080", "--label", "fairlead.expose=true"];

const stack = new AsyncDisposableStack();
beforeAll(async () => {
  fleet = stack.use(await createFleet({ hosts: 2 }));
  const [h1, h2] = fleet.hosts;
  await startServer(h1);
  api = await openApi(h1);
  // Without the proxy Docker lets its bridge send back where it came from: a container reaches itself through the virtual IP.
  near = stack.use(await startDocker(fleet, h1, { daemonArgs: ["--userland-proxy=false"] }));
  far = stack.use(await startDocker(fleet, h2));
  for (const host of fleet.hosts) await joinHost(host, { api, server: h1 });
  agent = await startAgent(h1, "--docker", near.socketPath);
  await startAgent(h2, "--docker", far.socketPath);
});
afterAll(() => stack.disposeAsync());

interface Held {
  readonly metadata: {
    readonly annotations: Readonly<Record<string, string>>;
    readonly labels: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly spec: { readonly address: string; readonly reach?: string; readonly ports: readonly object[] };
  readonly status: { readonly ready?: boolean };
}

async function workload(name: string): Promise<Held | undefined> {
  const { status, body } = await api.call("GET", `${workloadsPath}/${name}`);
  return status === 200 ? (body as Held) : undefined; // as proto/workload.ts says
}

async function untilGone(name: string): Promise<void> {
  await waitFor(async () => (await workload(name)) === undefined, { what: `${name} to be gone`, timeoutMs: 15_000 });
}

async function untilThere(name: string): Promise<Held> {
  return await waitFor(() => workload(name), { what: `${name} to be registered`, timeoutMs: 40_000 });
}

/** Who answers at the virtual IP, asked from there until these do and nobody else. */
async function untilAnsweredBy(from: Host, ids: readonly string[]): Promise<void> {
  let last: unknown;
  await waitFor(
    async () => {
      const { answers, failures } = await askHttp(from, `${vip}:8080`, { requests: 24 });
      last = { answers, failures };
      return Object.keys(failures).length === 0 && Object.keys(answers).toSorted().join() === ids.join();
    },
    { what: `${ids.join()} to answer on ${from.name}`, timeoutMs: 15_000 },
  ).catch((cause: unknown) => {
    throw new Error(`${ids.join()} did not answer, but ${JSON.stringify(last)}`, { cause });
  });
}

async function serve(container: Container, id: string): Promise<void> {
  const http = await container.spawn("node", ["test/fleet/http-echo.ts", "--id", id, "--listen", "0.0.0.0:8080"]);
  await http.waitForLine(/^listening/);
}

test("a published container is a workload of the whole fleet, and its service is made", async () => {
  const [h1, h2] = fleet.hosts;
  await serve(await far.runContainer("shown", { publish: "18080:8080", flags: WEB }), "far");
  const { spec, metadata } = await untilThere("shown-h2");
  expect(spec).toMatchObject({ address: h2.ip, ports: [{ name: "http", port: 18_080, containerPort: 8080 }] });
  expect(metadata.labels).toMatchObject({ app: "web" });
  expect(metadata.annotations["fairlead.dev/address-reason"]).toBe("published: 8080/tcp as the node's address:18080");
  const service = await waitFor(
    async () => {
      const { status, body } = await api.call("GET", "/api/v1/namespaces/default/services/web");
      return status === 200 ? (body as { spec: { clusterIP: string } }) : undefined;
    },
    { what: "the service" },
  );
  vip = service.spec.clusterIP;
  for (const host of [h1, h2]) await untilAnsweredBy(host, ["far"]);
});

test("one that is not published serves its own host only, and says what to do about that", async () => {
  const [h1, h2] = fleet.hosts;
  const quiet = await near.runContainer("quiet", { flags: WEB });
  await serve(quiet, "near");
  const { spec, metadata } = await untilThere("quiet-h1");
  expect(spec).toMatchObject({ address: quiet.ip, reach: "Node" });
  expect(metadata.annotations["fairlead.dev/address-reason"]).toContain("for all hosts, publish it (docker run -p 8080)");
  await untilAnsweredBy(h1, ["far", "near"]);
  await untilAnsweredBy(quiet, ["far", "near"]);
  await untilAnsweredBy(h2, ["far"]);
});

test("one with an address in the hosts' own network serves all hosts but its own, which does not reach it", async () => {
  const [h1, h2] = fleet.hosts;
  // A node speaks for its own addresses only: an administrator says which others are behind it.
  const behind = { apiVersion: "v1", kind: "Node", metadata: { name: "h1" }, spec: { podCIDRs: ["172.30.77.0/24"] } };
  await h1.run(fairlead, ["apply", "--filename", "-"], { input: JSON.stringify(behind) });
  const lan = ["--driver", "macvlan", "--subnet", "172.30.0.0/16", "--ip-range", "172.30.77.0/24", "--opt", "parent=eth0"];
  await near.cli("network", "create", ...lan, "lan");
  const container = await near.runContainer("direct", { network: "lan", flags: WEB });
  await serve(container, "lan");
  const { spec, metadata } = await untilThere("direct-h1");
  expect(spec).toMatchObject({ address: container.ip, reach: "OtherNodes" });
  expect(metadata.annotations["fairlead.dev/address-reason"]).toContain("which its own host does not reach");
  await untilAnsweredBy(h2, ["far", "lan"]);
  await untilAnsweredBy(h1, ["far", "near"]);
  await near.cli("rm", "--force", "direct");
  await untilAnsweredBy(h2, ["far"]);
});

test("docker stop drains it before it ends, and docker start brings it back", async () => {
  const [h1] = fleet.hosts;
  // Its first process takes no notice of TERM: it is killed after that time.
  const stopped = near.cli("stop", "--time", "4", "quiet");
  await waitFor(async () => (await workload("quiet-h1"))?.metadata.deletionTimestamp !== undefined, { what: "it to drain" });
  await untilAnsweredBy(h1, ["far"]);
  await stopped;
  await untilGone("quiet-h1");
  await near.cli("start", "quiet");
  await untilThere("quiet-h1");
  await near.cli("kill", "quiet");
  await untilGone("quiet-h1");
});

test("HEALTHCHECK decides whether it is ready", async () => {
  await importHealthImage(near);
  await near.cli(
    "run",
    "--pull",
    "never",
    "--detach",
    "--name",
    "checked",
    ...WEB,
    "--publish",
    "18081:8080",
    "health-test",
    "/bin/sleep",
    "900",
  );
  const ready = async (wanted: boolean): Promise<void> => {
    await waitFor(async () => (await workload("checked-h1"))?.status.ready === wanted, { what: `ready: ${wanted}`, timeoutMs: 15_000 });
  };
  await ready(true);
  await near.cli("exec", "checked", "/bin/rm", "/healthy");
  await ready(false);
  await near.cli("exec", "checked", "/bin/touch", "/healthy");
  await ready(true);
  await near.cli("rm", "--force", "checked");
  await untilGone("checked-h1");
});

test("labels that are wrong are told, and disturb nobody", async () => {
  await near.cli(
    "run",
    "--pull",
    "never",
    "--detach",
    "--name",
    "garbage",
    "--label",
    "fairlead.service=No Such",
    "fairlead-test",
    "/bin/sleep",
    "900",
  );
  await agent.waitForLine(/a container cannot be registered.*|"container":"garbage"/, { timeoutMs: 10_000 });
  const told = async (): Promise<boolean> =>
    (await fleet.hosts[0].run(fairlead, ["status"], { reject: false })).stdout.includes("container garbage: fairlead.service=No Such");
  await waitFor(told, { what: "the node to say so", timeoutMs: 10_000 });
  await untilThere("shown-h2");
});

test("what happened while the agent was away is found, and a daemon that ends takes its containers along", async () => {
  const [h1, h2] = fleet.hosts;
  await near.cli("start", "quiet");
  await untilThere("quiet-h1");
  await agent.stop();
  await near.cli("rm", "--force", "quiet");
  await near.runContainer("later", { publish: "18082:8080", flags: WEB });
  agent = await startAgent(h1, "--docker", near.socketPath);
  await untilGone("quiet-h1");
  await untilThere("later-h1");
  await near.restart();
  await untilGone("later-h1");
  await near.cli("start", "later");
  await untilThere("later-h1");
  await near.cli("rm", "--force", "later");
  await untilGone("later-h1");
  for (const host of [h1, h2]) await untilAnsweredBy(host, ["far"]);
});

/** An image whose HEALTHCHECK looks for a file, with the programs that it takes. */
async function importHealthImage(docker: Docker): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "fl-health-image-"));
  try {
    const programs = ["/bin/sleep", "/bin/cat", "/bin/rm", "/bin/touch"];
    const { stdout } = await execa("ldd", programs);
    const files = [...new Set([...programs, ...[...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path = ""]) => path)])];
    for (const file of files) {
      await mkdir(join(folder, dirname(file)), { recursive: true });
      await copyFile(file, join(folder, file));
    }
    await writeFile(join(folder, "healthy"), "");
    const tar = `${folder}.tar`;
    await execa("tar", ["--create", "--file", tar, "--directory", folder, "."]);
    const check = 'HEALTHCHECK --interval=500ms --timeout=5s --retries=1 CMD ["/bin/cat", "/healthy"]';
    await docker.cli("import", "--change", check, tar, "health-test");
    await rm(tar);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
