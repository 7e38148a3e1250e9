import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { readMembership } from "#agent/config.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { joinFleet } from "#agent/join.ts";
import { createAppliedTracker } from "#agent/sync/applied.ts";
import { createContact, type Contact } from "#agent/sync/contact.ts";
import { heartbeatLoop } from "#agent/sync/heartbeat.ts";
import { createReplicaStore, replay } from "#agent/sync/replica-store.ts";
import { createReplica, type Replica } from "#agent/sync/replica.ts";
import { runAll } from "#agent/sync/scope.ts";
import type { Touched } from "#agent/sync/state.ts";
import { watchLoop } from "#agent/sync/watch-loop.ts";
import { createWorkloadFiles } from "#agent/workloads/files.ts";
import { createWorkloadKeeper } from "#agent/workloads/keeper.ts";
import { ChangesReply, FleetStatus, JoinTokenCreated } from "#proto/agents.ts";
import { clientOver, createClient, type Client } from "#proto/client.ts";
import { openTransport, type Connection } from "#proto/client-http.ts";
import { AppError } from "#proto/error.ts";
import { paths } from "#proto/paths.ts";
import { startServer, type RunningServer } from "#server/start.ts";
import { freePort } from "../free-port.ts";
import { waitFor } from "../wait-for.ts";
import { cluster, startApi } from "./api-server.ts";

/** The agent's own loops, but for kernel and DNS, against the real server. */

const quiet = pino({ level: "silent" });

interface Server {
  readonly dataDir: string;
  readonly url: () => string;
  readonly admin: () => Promise<Client>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

async function aFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fl-sync-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function aServer(): Promise<Server> {
  const folder = await aFolder();
  const dataDir = join(folder, "data");
  const kubeconfigOut = join(folder, "admin.yaml");
  const port = await freePort(); // the next start listens there again
  let running: RunningServer | undefined;
  const server: Server = {
    dataDir,
    url: () => `https://127.0.0.1:${port}`,
    async start() {
      const listen = { host: "127.0.0.1", port };
      running = await startServer(
        {
          listen,
          dataDir,
          cluster: { ...cluster, heartbeatIntervalMs: 100 },
          loadBalancerCidrs: [],
          advertise: [],
          kubeconfigOut,
          logLevel: "error",
        },
        quiet,
      );
    },
    async stop() {
      await running?.close();
      running = undefined;
    },
    async admin() {
      const config = parse(await readFile(kubeconfigOut, "utf8")) as {
        clusters: { cluster: { "certificate-authority-data": string } }[];
        users: { user: { token: string } }[];
      }; // the server has written it
      const ca = Buffer.from(config.clusters[0]?.cluster["certificate-authority-data"] ?? "", "base64").toString();
      const client = createClient({ server: server.url(), ca, token: config.users[0]?.user.token ?? "" });
      onTestFinished(() => client.close());
      return client;
    },
  };
  await server.start();
  onTestFinished(() => server.stop());
  return server;
}

async function newToken(admin: Client): Promise<string> {
  const { body } = await admin.transport.send({ method: "POST", path: paths.joinTokens, body: {} });
  return JoinTokenCreated.parse(body).token;
}

interface Joined {
  readonly connection: Connection;
  readonly stateDir: string;
  readonly credentialsFile: string;
}

async function joinAs(server: Server, token: string, { name = "vm-1", address = "192.168.56.11" } = {}): Promise<Joined> {
  const stateDir = await aFolder();
  const credentialsFile = join(stateDir, "etc/node.yaml");
  await joinFleet(
    { server: server.url(), token, name, addresses: [address], stateDir, credentialsFile, tools: openKernelTools() },
    new AbortController().signal,
  );
  const { connection } = await readMembership(credentialsFile);
  return { connection, stateDir, credentialsFile };
}

interface Agent {
  readonly replica: Replica;
  readonly contact: Contact;
  readonly touched: Touched[];
  readonly services: () => string[];
  readonly stop: () => Promise<void>;
}

interface AgentOptions {
  readonly connection: Connection;
  readonly stateDir: string;
}

async function startAgent({ connection, stateDir }: AgentOptions): Promise<Agent> {
  const replica = createReplica({ nodeName: "vm-1", log: quiet });
  const store = createReplicaStore({ folder: join(stateDir, "replica"), nodeName: "vm-1", image: () => replica.image(), log: quiet });
  const stored = await store.load();
  if (stored) await replica.replaceWith({ ...replay(stored), cluster: stored.header.cluster });
  const contact = createContact({ log: quiet });
  const applied = createAppliedTracker();
  const touched: Touched[] = [];
  const transport = openTransport(connection);
  const workloadFiles = createWorkloadFiles({
    folder: join(stateDir, "workloads.d"),
    nodeName: "vm-1",
    onChange: () => keeper.touched(),
    log: quiet,
  });
  const keeper = createWorkloadKeeper({
    sources: [workloadFiles],
    client: clientOver(transport),
    own: replica.state.ownWorkloads,
    synced: () => touched.length > 0,
    log: quiet,
  });
  const follow = (what: Touched): void => {
    touched.push(what);
    if (touched.length === 1 || what.ownWorkloads.size > 0) keeper.touched();
    applied.want(what.revision);
    applied.applied(what.revision);
  };
  const ending = new AbortController();
  const ended = runAll(ending.signal, {
    watch: (end) => watchLoop({ transport, replica, store, follow, applied, contact, log: quiet }, end),
    persistence: (end) => store.run(end),
    "workload files": (end) => workloadFiles.run(end),
    workloads: (end) => keeper.run(end),
    heartbeat: (end) =>
      heartbeatLoop(
        {
          transport,
          nodeName: "vm-1",
          intervalMs: () => 100,
          epoch: () => replica.epoch(),
          applied: () => applied.revision(),
          problems: () => ["the roof leaks"],
          contact,
        },
        end,
      ),
  });
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> =>
    (stopped ??= (async () => {
      ending.abort();
      await ended;
      await transport.close();
    })());
  onTestFinished(stop);
  return { replica, contact, touched, services: () => [...replica.state.services.keys()].toSorted(), stop };
}

const create = (client: Client, name: string) =>
  client.create("Service", {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: { ports: [{ port: 80 }] },
  });

test("a host that joins hears what is there and what comes, its lease holds, and its problems and receipts are known", async () => {
  const server = await aServer();
  const admin = await server.admin();
  await create(admin, "before");
  const agent = await startAgent(await joinAs(server, await newToken(admin)));
  await waitFor(() => agent.services().includes("default/before"), { what: "the snapshot" });
  await create(admin, "after");
  await waitFor(() => agent.services().includes("default/after"), { what: "the change", timeoutMs: 1000 });
  await admin.delete("Service", "before", { namespace: "default" });
  await waitFor(() => !agent.services().includes("default/before"), { what: "the deletion", timeoutMs: 1000 });
  const status = await waitFor(
    async () => {
      const { nodes } = FleetStatus.parse((await admin.transport.send({ path: paths.status })).body);
      return nodes.find(({ ready, applied = 0 }) => ready && applied >= agent.replica.state.revision);
    },
    { what: "the receipt" },
  );
  expect(status.problems).toEqual(["the roof leaks"]);
});

test("over a restart of the server the agent keeps what it knows, comes back by itself, and is told only what is new", async () => {
  const server = await aServer();
  const admin = await server.admin();
  const agent = await startAgent(await joinAs(server, await newToken(admin)));
  await create(admin, "one");
  await waitFor(() => agent.services().includes("default/one"), { what: "one" });
  await server.stop();
  await waitFor(() => agent.contact.problems().length === 2, { what: "both loops to notice" });
  expect(agent.services()).toContain("default/one");
  const before = agent.touched.length;
  await server.start();
  await create(await server.admin(), "two");
  await waitFor(() => agent.services().includes("default/two"), { what: "two" });
  await waitFor(() => agent.contact.problems().length === 0, { what: "the heartbeat too" });
  expect(agent.contact.stateAgeMs()).toBe(0);
  expect(agent.touched.slice(before).some(({ services }) => services.has("default/one"))).toBe(false);
});

test("an agent that starts while the server is down has what was known, and follows from there when it is back", async () => {
  const server = await aServer();
  const admin = await server.admin();
  const joined = await joinAs(server, await newToken(admin));
  const first = await startAgent(joined);
  await create(admin, "one");
  await waitFor(() => first.services().includes("default/one"), { what: "one" });
  await waitFor(() => stat(join(joined.stateDir, "replica/image")), { what: "the image on disk" });
  await first.stop();
  await server.stop();
  const second = await startAgent(joined);
  expect(second.services()).toContain("default/one");
  await server.start();
  await create(await server.admin(), "two");
  await waitFor(() => second.services().includes("default/two"), { what: "two" });
  expect(second.touched.every(({ all, services }) => !all && !services.has("default/one"))).toBe(true);
});

test("when an old backup of the server is restored, the agent becomes what the server is now, also where revisions say otherwise", async () => {
  const server = await aServer();
  let admin = await server.admin();
  const agent = await startAgent(await joinAs(server, await newToken(admin)));
  await create(admin, "kept");
  await server.stop();
  const backup = `${server.dataDir}.backup`;
  await cp(server.dataDir, backup, { recursive: true });
  await server.start();
  admin = await server.admin();
  await create(admin, "lost");
  await waitFor(() => agent.services().includes("default/lost"), { what: "what will be lost" });
  await server.stop();
  await rm(server.dataDir, { recursive: true });
  await cp(backup, server.dataDir, { recursive: true });
  await server.start();
  admin = await server.admin();
  for (const name of ["other-1", "other-2", "other-3", "other-4"]) await create(admin, name);
  const wanted = (await admin.list("Service")).items.map(({ metadata }) => `${metadata.namespace ?? ""}/${metadata.name}`).toSorted();
  await waitFor(() => agent.services().join() === wanted.join(), { what: `exactly ${wanted.join()}` });
  expect(agent.touched.slice(1).some(({ all }) => all)).toBe(false);
});

test("after a compaction that an agent slept through it reads the whole state and touches only what differs", async () => {
  const api = await startApi();
  const stateDir = await aFolder();
  const connection = { server: api.url, ca: api.ca, token: api.tokens.node };
  const first = await startAgent({ connection, stateDir });
  await create(api.client, "one");
  await waitFor(() => first.services().includes("default/one"), { what: "one" });
  await waitFor(() => stat(join(stateDir, "replica/image")), { what: "the image on disk" });
  await first.stop();
  await create(api.client, "two");
  await create(api.client, "three");
  await api.client.delete("Service", "two", { namespace: "default" });
  await api.store.compact(api.store.revision);
  const second = await startAgent({ connection, stateDir });
  await waitFor(() => second.services().includes("default/three"), { what: "three" });
  expect(second.services()).not.toContain("default/two");
  expect(second.touched.some(({ all, services }) => all || services.has("default/one"))).toBe(false);
});

test("after a restart in a fleet where nothing has changed, a new file of workloads is registered", async () => {
  const server = await aServer();
  const admin = await server.admin();
  const joined = await joinAs(server, await newToken(admin));
  const folder = join(joined.stateDir, "workloads.d");
  await mkdir(folder, { mode: 0o755 });
  const file = (name: string): Promise<void> =>
    writeFile(join(folder, `${name}.yaml`), `apiVersion: fairlead.dev/v1\nkind: Workload\nmetadata: { name: ${name} }\nspec: {}\n`, {
      mode: 0o644,
    });
  const isRegistered = (name: string): Promise<boolean> => admin.get("Workload", name, { namespace: "default" }).then(Boolean, () => false);
  const first = await startAgent(joined);
  await file("one");
  await waitFor(() => isRegistered("one"), { what: "one" });
  await admin.create("Event", {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: "of-today", namespace: "default" },
    involvedObject: { kind: "Node", name: "vm-1" },
    reason: "Told",
    message: "nothing that hosts follow",
  });
  await waitFor(
    async () => {
      const { nodes } = FleetStatus.parse((await admin.transport.send({ path: paths.status })).body);
      const since = first.replica.state.revision; // below the server's where the last commits were Events, which hosts do not follow
      const query = { since, epoch: first.replica.epoch(), timeoutMs: 0 };
      const { changes } = ChangesReply.parse((await admin.transport.send({ path: paths.changes, query })).body);
      return nodes[0]?.ready === true && changes.length === 0;
    },
    { what: "the fleet to be quiet" },
  );
  await first.stop();
  const second = await startAgent(joined);
  expect(second.replica.state.revision).toBe(first.replica.state.revision);
  await file("two");
  await waitFor(() => isRegistered("two"), { what: "two", timeoutMs: 3000 });
});

test("a node that is deleted goes on with what it knows, says why, and does not hammer the server", async () => {
  const server = await aServer();
  const admin = await server.admin();
  const agent = await startAgent(await joinAs(server, await newToken(admin)));
  await create(admin, "one");
  await waitFor(() => agent.services().includes("default/one"), { what: "one" });
  await admin.delete("Node", "vm-1");
  await waitFor(() => agent.contact.problems().some((line) => line.includes("join again")), { what: "the problem" });
  expect(agent.services()).toContain("default/one");
});

test("joining is refused with its reason: a server that is not the token's, a token used twice, a name that another host holds", async () => {
  const [server, other] = await Promise.all([aServer(), aServer()]);
  const [admin, foreign] = await Promise.all([server.admin(), other.admin()]);
  await expect(joinAs(server, await newToken(foreign))).rejects.toThrow("is not the server that this token was made on");

  const token = await newToken(admin);
  const { credentialsFile } = await joinAs(server, token);
  expect((await readFile(credentialsFile, "utf8")).includes(token)).toBe(false);
  await expect(joinAs(server, token, { name: "vm-2", address: "192.168.56.12" })).rejects.toThrow("has been used as often as it may be");
  await expect(joinAs(server, "fl1.nonsense")).rejects.toThrow("this is not a join token");
  await expect(joinAs({ ...server, url: () => server.url().replace("https", "http") }, token)).rejects.toThrow(AppError);

  const stateDir = await aFolder();
  await writeFile(join(stateDir, "machine-id"), "another-machine-entirely\n");
  const again = joinFleet(
    {
      server: server.url(),
      token: await newToken(admin),
      name: "vm-1",
      addresses: ["192.168.56.13"],
      stateDir,
      credentialsFile: join(stateDir, "node.yaml"),
      tools: openKernelTools(),
    },
    new AbortController().signal,
  );
  await expect(again).rejects.toThrow("the name vm-1 is held by another host");
});
