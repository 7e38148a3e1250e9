import { expect, onTestFinished, test } from "vitest";
import type { Answer, Call } from "#proto/client-http.ts";
import { AppError } from "#proto/error.ts";
import { paths } from "#proto/paths.ts";
import { pause } from "#proto/backoff.ts";
import { waitFor } from "#test/wait-for.ts";
import { createAppliedTracker } from "./applied.ts";
import { createContact } from "./contact.ts";
import { createReplica, type Snapshot } from "./replica.ts";
import type { Touched } from "./state.ts";
import { watchLoop } from "./watch-loop.ts";

const cluster = {
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
const snapshot = (revision: number, items: object[], more: object = {}) => ({ epoch: "e1", revision, cluster, items, ...more });
const changes = (revision: number, ...objects: ReturnType<typeof service>[]) => ({
  epoch: "e1",
  revision,
  changes: objects.map((object) => ({ type: "PUT", kind: "Service", revision: Number(object.metadata.resourceVersion), object })),
});
const hang = Symbol("no answer");
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

interface Given {
  readonly kernel?: "quick" | "stuck";
  /** What an earlier run left on disk. */
  readonly known?: Snapshot;
  /** Called with what is followed, before it counts as followed. */
  readonly meets?: (touched: Touched) => void;
}

/** The loop against a server that says what the test says, one answer after the other, and then nothing more. */
async function start(answers: (object | typeof hang)[], { kernel = "quick", known, meets }: Given = {}) {
  const asked: Call[] = [];
  const touched: Touched[] = [];
  const errors: unknown[] = [];
  const replica = createReplica({ nodeName: "vm-1", log: quiet });
  if (known) await replica.replaceWith(known);
  const applied = createAppliedTracker();
  const contact = createContact({ log: quiet });
  const send = async (call: Call): Promise<Answer> => {
    asked.push(call);
    const answer = answers.shift() ?? hang;
    if (answer === hang) {
      await pause(60_000, call.signal ?? new AbortController().signal);
      throw new Error("aborted");
    }
    if (answer instanceof Error) throw answer;
    return { status: 200, body: answer, warnings: [] };
  };
  const follow = (what: Touched): void => {
    meets?.(what);
    touched.push(what);
    applied.want(what.revision);
    if (kernel === "quick") applied.applied(what.revision);
  };
  const ending = new AbortController();
  const store = { append: () => undefined, rewrite: () => undefined };
  const log = { ...quiet, error: (what: unknown) => void errors.push(what) };
  const ended = watchLoop({ transport: { send }, replica, store, follow, applied, contact, log }, ending.signal);
  onTestFinished(async () => {
    ending.abort();
    await ended;
  });
  return { asked, touched, errors, replica, contact, calls: () => asked.map(({ path }) => path.split("/").at(-1)) };
}

test("it reads all pages, follows from the first page's revision, and says with each poll what the kernel holds", async () => {
  const { asked, replica } = await start([
    snapshot(5, [service("a", 1)], { continue: "next" }),
    snapshot(7, [service("b", 6)]),
    changes(7, service("b", 6), service("c", 7)),
  ]);
  await waitFor(() => asked.length === 4, { what: "the second poll" });
  expect(asked[1]?.query).toMatchObject({ continue: "next" });
  expect(asked[2]).toMatchObject({ path: paths.changes, query: { since: 5, epoch: "e1", applied: 5 } });
  expect(asked[3]?.query).toMatchObject({ since: 7, applied: 7 });
  expect([...replica.state.services.keys()]).toEqual(["default/a", "default/b", "default/c"]);
});

test("what an agent of before left, which held less of each object, is read anew, and what it lacked is followed", async () => {
  const held = service("a", 1);
  const whole = { ...held, spec: { ...held.spec, type: "LoadBalancer" }, status: { loadBalancer: { ingress: [{ ip: "203.0.113.9" }] } } };
  const { calls, touched, replica } = await start([snapshot(5, [whole, service("b", 2)])], {
    known: { epoch: undefined, revision: 5, cluster, items: [{ ...whole, status: {} }, service("b", 2)] },
  });
  expect(replica.state.services.has("default/a")).toBe(true);
  await waitFor(() => calls().length === 2, { what: "the poll after the snapshot" });
  expect(calls()).toEqual(["snapshot", "changes"]);
  expect([...(touched[0]?.services ?? [])]).toEqual(["default/a"]);
  expect(replica.state.services.get("default/a")?.status.loadBalancer.ingress).toEqual([{ ip: "203.0.113.9" }]);
});

test("after 410 it reads the whole state again and touches only what differs", async () => {
  const { calls, touched } = await start([
    snapshot(1, [service("a", 1)]),
    new AppError("Expired", "compacted"),
    snapshot(9, [service("a", 1), service("b", 9)]),
  ]);
  await waitFor(() => calls().length === 4, { what: "the poll after the second snapshot" });
  expect(calls()).toEqual(["snapshot", "changes", "snapshot", "changes"]);
  expect(touched[1]).toMatchObject({ all: false, revision: 9 });
  expect([...(touched[1]?.services ?? [])]).toEqual(["default/b"]);
});

test("after a failure the first poll asks for an answer at once, so that nobody is told for long that the server is away", async () => {
  const { asked, contact } = await start([snapshot(1, []), new AppError("ServiceUnavailable", "down"), changes(1)]);
  await waitFor(() => asked.length === 4, { what: "the poll after the answer" });
  expect(asked.map(({ query }) => query?.["timeoutMs"])).toEqual([undefined, 30_000, 0, 30_000]);
  expect(contact.problems()).toEqual([]);
});

test("pages of two runs of the server are not put together", async () => {
  const { calls, replica } = await start([
    snapshot(5, [service("old", 1)], { continue: "next" }),
    snapshot(2, [], { epoch: "e2" }),
    snapshot(2, [service("new", 2)], { epoch: "e2" }),
  ]);
  await waitFor(() => calls().includes("changes"), { what: "the first poll" });
  expect([...replica.state.services.keys()]).toEqual(["default/new"]);
  expect(replica.epoch()).toBe("e2");
});

test("a server that is down changes nothing of what is held, and is not asked in a hurry", async () => {
  const down = () => new AppError("ServiceUnavailable", "down");
  const { asked, touched, contact } = await start([snapshot(1, [service("a", 1)]), ...Array.from({ length: 50 }, down)]);
  await waitFor(() => asked.length >= 4, { what: "some attempts" });
  const begun = performance.now();
  const before = asked.length;
  await waitFor(() => performance.now() - begun > 1000, { what: "a second to pass" });
  expect(asked.length - before).toBeLessThan(6);
  expect(touched).toHaveLength(1);
  expect(contact.problems()).toEqual(["watch: down"]);
  expect(contact.stateAgeMs()).toBeGreaterThan(900);
});

test("a refused credential is a problem that says what to do, and is tried again seldom", async () => {
  const { asked, contact } = await start([snapshot(1, []), new AppError("Unauthorized", "who are you?")]);
  await waitFor(() => contact.problems().length === 1, { what: "the problem" });
  expect(contact.problems()[0]).toContain("join again");
  const begun = performance.now();
  await waitFor(() => performance.now() - begun > 500, { what: "half a second to pass" });
  expect(asked).toHaveLength(2);
});

test("a poll over a connection that died silently ends when the heartbeat finds the server again", async () => {
  const { asked, contact } = await start([snapshot(1, []), hang]);
  await waitFor(() => asked.length === 2, { what: "the poll" });
  contact.failed("heartbeat", new Error("no answer"));
  contact.heard("heartbeat");
  await waitFor(() => asked.length === 3, { what: "the next poll", timeoutMs: 500 });
});

test("a kernel that does not follow delays the next poll by a second at most, and the poll does not claim what is not so", async () => {
  const { asked, touched } = await start([snapshot(1, []), changes(2, service("a", 2)), changes(3, service("b", 3))], { kernel: "stuck" });
  await waitFor(() => touched.length === 3, { what: "both changes", timeoutMs: 2500 });
  expect(asked[2]?.query).toMatchObject({ since: 2, applied: undefined });
});

test("an answer that is no answer of this protocol is an error that is retried", async () => {
  const { asked, contact } = await start([{ hello: "world" }, snapshot(1, [])]);
  await waitFor(() => asked.length === 3, { what: "the poll" });
  expect(contact.problems()).toEqual([]);
});

test("a run that begins with what the disk knew asks at once whether it is still so, and says so though nothing has changed", async () => {
  const { asked, touched, contact } = await start([changes(5)], { known: snapshot(5, [service("a", 1)]) });
  await waitFor(() => asked.length === 2, { what: "the second poll" });
  expect(asked.map(({ query }) => query?.["timeoutMs"])).toEqual([0, 30_000]);
  expect(touched).toHaveLength(1);
  expect(touched[0]).toMatchObject({ revision: 5, all: false, services: new Set() });
  expect(contact.stateAgeMs()).toBe(0);
});

test("a change that somebody failed over is not lost: the state is read anew, all of it is followed, and the log has the fault once", async () => {
  let faults = 2;
  const meets = ({ services }: Touched): void => {
    if (services.has("default/b") && faults-- > 0) throw new TypeError("cannot follow b");
  };
  const whole = snapshot(2, [service("a", 1), service("b", 2)]);
  const { calls, touched, errors, contact } = await start([snapshot(1, [service("a", 1)]), changes(2, service("b", 2)), whole, whole], {
    meets,
  });
  await waitFor(() => touched.length === 2, { what: "the change", timeoutMs: 5000 });
  await waitFor(() => calls().length === 5, { what: "the next poll" });
  expect(calls()).toEqual(["snapshot", "changes", "snapshot", "snapshot", "changes"]);
  expect(touched[1]).toMatchObject({ all: true, revision: 2, services: new Set(["default/a", "default/b"]) });
  expect(errors).toEqual([{ err: expect.objectContaining({ message: "cannot follow b" }) as unknown }]);
  expect(contact.problems()).toEqual([]);
});
