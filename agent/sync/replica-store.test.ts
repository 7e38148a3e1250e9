import { appendFile, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import type { Change, ClusterFacts } from "#proto/agents.ts";
import { waitFor } from "#test/wait-for.ts";
import { decodeLine } from "#agent/checked-line.ts";
import { encodeLine, ImageHeader } from "./replica-format.ts";
import { createReplicaStore, replay, type ReplicaStore } from "./replica-store.ts";
import { createReplica, type Replica } from "./replica.ts";

const cluster: ClusterFacts = {
  domain: "cluster.local",
  serviceCidrs: ["10.96.0.0/16"],
  dnsIps: ["10.96.0.10"],
  nodePortRange: { from: 30_000, to: 32_767 },
  heartbeatIntervalMs: 1000,
  nodeTimeoutMs: 5000,
};
const service = (name: string, revision: number) => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default", resourceVersion: String(revision) },
  spec: { ports: [{ port: 80 }] },
});
const quiet = { info: () => undefined, warn: () => undefined };

interface Kept {
  replica: Replica;
  store: ReplicaStore;
  put(name: string, revision: number): void;
  stop(): Promise<void>;
}

async function aFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fl-replica-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "replica");
}

async function start(folder: string, nodeName = "vm-1"): Promise<Kept> {
  const replica = createReplica({ nodeName, log: quiet });
  const store = createReplicaStore({ folder, nodeName, image: replica.image, log: quiet });
  const stored = await store.load();
  if (stored) await replica.replaceWith({ ...replay(stored), cluster: stored.header.cluster });
  const ending = new AbortController();
  const running = store.run(ending.signal);
  return {
    replica,
    store,
    put(name, revision) {
      const change: Change = { type: "PUT", kind: "Service", revision, object: service(name, revision) };
      const { step } = replica.applyChanges({ epoch: "e1", revision, changes: [change] });
      if (step) store.append(step);
    },
    async stop() {
      ending.abort();
      await running;
    },
  };
}

async function saved(folder: string, ...names: string[]): Promise<void> {
  const agent = await start(folder);
  await agent.replica.replaceWith({ epoch: "e1", revision: 1, cluster, items: [service("first", 1)] });
  agent.store.rewrite();
  await waitFor(() => stat(join(folder, "image")), { what: "the image" });
  for (const [i, name] of names.entries()) agent.put(name, 2 + i);
  await agent.stop();
}

const namesIn = ({ replica }: Kept) => [...replica.state.services.keys()].map((key) => key.slice("default/".length)).toSorted();

test("what was heard is there after a restart, with its revision and epoch", async () => {
  const folder = await aFolder();
  await saved(folder, "a", "b");
  const agent = await start(folder);
  expect(namesIn(agent)).toEqual(["a", "b", "first"]);
  expect(agent.replica.state).toMatchObject({ revision: 3, cluster });
  expect(agent.replica.epoch()).toBe("e1");
  await agent.stop();
});

test("what is queued when the agent is stopped in the middle of writing an image is there after the restart", async () => {
  const folder = await aFolder();
  await saved(folder);
  const agent = await start(folder);
  agent.store.rewrite();
  await nextTurn(); // the image is taken, and being written
  agent.put("late", 2);
  await agent.stop();
  const again = await start(folder);
  expect(namesIn(again)).toEqual(["first", "late"]);
  await again.stop();
});

test("its files are for root's eyes only", async () => {
  const folder = await aFolder();
  await saved(folder, "a");
  for (const name of await readdir(folder)) expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
});

test("a change is a line in the journal, and the image is not written again", async () => {
  const folder = await aFolder();
  await saved(folder, "a");
  const before = await stat(join(folder, "image"));
  const agent = await start(folder);
  agent.put("b", 3);
  await waitFor(async () => (await readFile(join(folder, "journal-1"), "utf8")).split("\n").length === 3, { what: "the second line" });
  expect((await stat(join(folder, "image"))).mtimeMs).toBe(before.mtimeMs);
  await agent.stop();
});

test("a journal that has outgrown its share becomes a new image, and nothing of it is lost", async () => {
  const folder = await aFolder();
  await saved(folder);
  const agent = await start(folder);
  for (let i = 0; i < 6000; i++) {
    agent.put(`svc-${i}`, 2 + i);
    if (i % 500 === 0) await waitFor(async () => (await readdir(folder)).length >= 1, { what: "a turn of the loop" });
  }
  await waitFor(async () => !(await readdir(folder)).includes("journal-1"), { what: "the next image" });
  await agent.stop();
  const again = await start(folder);
  expect(again.replica.state.services.size).toBe(6001);
  await again.stop();
});

test("a line torn by a power cut is ignored, what came before it is kept, and what comes after it is kept too", async () => {
  const folder = await aFolder();
  await saved(folder, "a", "b");
  const journal = join(folder, "journal-1");
  await truncate(journal, (await stat(journal)).size - 20);
  const agent = await start(folder);
  expect(namesIn(agent)).toEqual(["a", "first"]);
  agent.put("c", 4);
  await waitFor(async () => (await readFile(join(folder, "image"), "utf8")).includes('"c"'), { what: "the new image" });
  await agent.stop();
  const again = await start(folder);
  expect(namesIn(again)).toEqual(["a", "c", "first"]);
  await again.stop();
});

test.for(["", "garbage", "00000000 {}\n", `${"0".repeat(8)} not json\n`])(
  "an image of %j is set aside and the agent starts without it",
  async (text) => {
    const folder = await aFolder();
    await saved(folder, "a");
    await writeFile(join(folder, "image"), text);
    const agent = await start(folder);
    expect(namesIn(agent)).toEqual([]);
    expect(agent.replica.epoch()).toBeUndefined();
    expect(await readdir(folder)).toContain("image.damaged");
    await agent.replica.replaceWith({ epoch: "e1", revision: 9, cluster, items: [service("fresh", 9)] });
    agent.store.rewrite();
    await waitFor(() => stat(join(folder, "image")), { what: "a new image" });
    await agent.stop();
    const again = await start(folder);
    expect(namesIn(again)).toEqual(["fresh"]);
    await again.stop();
  },
);

test("one flipped bit in the image is found out", async () => {
  const folder = await aFolder();
  await saved(folder);
  const text = await readFile(join(folder, "image"), "utf8");
  await writeFile(join(folder, "image"), text.replace("first", "worst"));
  const agent = await start(folder);
  expect(namesIn(agent)).toEqual([]);
  await agent.stop();
});

test("an image of an earlier format, which held less, is served from and not resumed from, until all was read anew", async () => {
  const folder = await aFolder();
  await saved(folder, "a");
  const image = join(folder, "image");
  const [first = "", ...objects] = (await readFile(image, "utf8")).split("\n");
  const header = ImageHeader.parse(decodeLine(first));
  await writeFile(image, `${encodeLine({ ...header, format: 1 })}${objects.join("\n")}`);
  const old = await start(folder);
  expect(namesIn(old)).toEqual(["a", "first"]);
  expect(old.replica.epoch()).toBeUndefined();
  await old.stop(); // before the server was heard
  const agent = await start(folder);
  expect(agent.replica.epoch()).toBeUndefined();
  await agent.replica.replaceWith({ epoch: "e1", revision: 9, cluster, items: [service("first", 1)] });
  agent.store.rewrite();
  await waitFor(async () => (await readFile(image, "utf8")).includes('"revision":9'), { what: "the new image" });
  await agent.stop();
  const again = await start(folder);
  expect(namesIn(again)).toEqual(["first"]);
  expect(again.replica.epoch()).toBe("e1");
  await again.stop();
});

test("the state of another node is not taken", async () => {
  const folder = await aFolder();
  await saved(folder, "a");
  const agent = await start(folder, "vm-2");
  expect(namesIn(agent)).toEqual([]);
  await agent.stop();
});

test.for([
  ["the whole state folder", ""],
  ["the replica's folder", "replica"],
  ["the image", "replica/image"],
  ["the journal", "replica/journal-1"],
] as const)("after %s was deleted the next change writes all anew, for root's eyes only", async ([, deleted]) => {
  const stateDir = join(await aFolder(), "state");
  const folder = join(stateDir, "replica");
  await saved(folder, "a");
  const agent = await start(folder);
  agent.put("b", 3);
  await waitFor(async () => (await readFile(join(folder, "journal-1"), "utf8")).includes('"b"'), { what: "the step" });
  await rm(join(stateDir, deleted), { recursive: true });
  agent.put("c", 4);
  await waitFor(async () => (await readFile(join(folder, "image"), "utf8")).includes('"c"'), { what: "the new image" });
  await agent.stop();
  for (const path of [stateDir, folder]) expect((await stat(path)).mode & 0o777).toBe(0o700);
  const again = await start(folder);
  expect(namesIn(again)).toEqual(["a", "b", "c", "first"]);
  await again.stop();
});

test("a disk that cannot be written is a problem to report, and no end", async () => {
  const folder = await aFolder();
  await saved(folder, "a");
  const agent = await start(folder);
  await rm(folder, { recursive: true });
  await appendFile(folder, "a file where the folder should be");
  agent.put("b", 3);
  await waitFor(() => agent.store.problems().length === 1, { what: "the problem" });
  expect(agent.store.problems()[0]).toContain("cannot save the state of the fleet");
  await agent.stop();
});
