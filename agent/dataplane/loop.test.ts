import { expect, onTestFinished, test } from "vitest";
import type { ForwardingTable, ServiceChange } from "#agent/compile/table.ts";
import { pause } from "#proto/backoff.ts";
import { aCompiled, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import type { DataplaneDriver, Drift } from "./driver.ts";
import { dataplaneLoop } from "./loop.ts";
import { createTableMailbox, type TableMailbox, type TableUpdate } from "./mailbox.ts";

const service = (name: string) => aCompiled([], name);
const table = (...names: string[]): ForwardingTable => aTable(names.map(service));
const added = (key: string): ServiceChange => ({ key, previous: undefined, next: service(key) });

interface Recorded {
  readonly done: string[];
  readonly applied: number[];
  readonly drifts: (readonly string[])[];
  readonly failures: (string | undefined)[];
  readonly mailbox: TableMailbox;
  drift: Drift;
  refuse: number;
  /** A look that takes for ever, unless it is called off; `failing` = what it was about to write is then refused. */
  slowLook: boolean | "failing";
}

interface Given {
  readonly verifyIntervalMs?: number;
  readonly mailbox?: TableMailbox;
  readonly now?: () => number;
}

/** A driver that remembers instead of writing; `refuse` = how many of the next writes fail. */
function start({ verifyIntervalMs = 10_000, mailbox = createTableMailbox(), now }: Given = {}): Recorded {
  const recorded: Recorded = {
    done: [],
    applied: [],
    drifts: [],
    failures: [],
    mailbox,
    drift: { intact: true },
    refuse: 0,
    slowLook: false,
  };
  const write = (what: string): void => {
    recorded.done.push(what);
    if (recorded.refuse-- > 0) throw new Error("refused");
    recorded.refuse = 0;
  };
  const driver: DataplaneDriver = {
    name: "iptables",
    family: "IPv4",
    close: () => undefined,
    probe: async () => ({ usable: true, detail: "" }),
    sync: async ({ services }) => {
      write(`sync ${[...services.keys()].join()}`);
      recorded.drift = { intact: true };
    },
    update: async (changes) => write(`update ${changes.map(({ key, next }) => (next ? key : `-${key}`)).join()}`),
    verify: async (signal) => {
      if (!recorded.slowLook) return recorded.drift;
      recorded.done.push("look");
      await pause(60_000, signal);
      if (recorded.slowLook === "failing") throw new Error("could not write");
      signal.throwIfAborted();
      return recorded.drift;
    },
    cleanup: async () => [],
  };
  const end = new AbortController();
  const running = dataplaneLoop(
    {
      driver,
      mailbox,
      ...(now && { now }),
      verifyIntervalMs: () => verifyIntervalMs,
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
      onApplied: (revision) => recorded.applied.push(revision),
      onDrift: (missing) => recorded.drifts.push(missing),
      onFailure: (error) => recorded.failures.push(error?.message),
    },
    end.signal,
  );
  onTestFinished(async () => {
    end.abort();
    await running;
  });
  return recorded;
}

test("first the whole, then what changes; a revision is told when it is applied", async () => {
  const { mailbox, done, applied } = start();
  mailbox.put({ revision: 3, table: table("a"), changes: [] });
  await waitFor(() => applied.includes(3), { what: "the sync" });
  mailbox.put({ revision: 4, changes: [added("b")] });
  await waitFor(() => applied.includes(4), { what: "the update" });
  mailbox.put({ revision: 5, changes: [] });
  await waitFor(() => applied.includes(5), { what: "the revision that means nothing to the kernel" });
  expect(done).toEqual(["sync a", "update b"]);
});

test("a change does not wait for a look that takes long", async () => {
  const recorded = start({ verifyIntervalMs: 20 });
  recorded.mailbox.put({ revision: 1, table: table("a"), changes: [] });
  await waitFor(() => recorded.applied.includes(1), { what: "the sync" });
  recorded.slowLook = true;
  await waitFor(() => recorded.done.includes("look"), { what: "the look" });
  recorded.mailbox.put({ revision: 2, changes: [added("b")] });
  await waitFor(() => recorded.applied.includes(2), { what: "the update" });
  expect(recorded.failures).toEqual([]);
});

test("nothing is written before the first whole table", async () => {
  const { mailbox, done, applied } = start();
  mailbox.put({ revision: 1, changes: [added("b")] });
  mailbox.put({ revision: 2, table: table("a"), changes: [] });
  await waitFor(() => applied.includes(2), { what: "the sync" });
  expect(done).toEqual(["sync a"]);
});

test("what the kernel refused is told, and written whole as soon as it can be; the revision is told only then", async () => {
  const recorded = start();
  const { mailbox, done, applied, failures } = recorded;
  mailbox.put({ revision: 1, table: table("a"), changes: [] });
  await waitFor(() => applied.includes(1), { what: "the sync" });
  recorded.refuse = 2;
  mailbox.put({ revision: 2, changes: [added("b")] });
  await waitFor(() => applied.includes(2), { what: "the retry" });
  expect(done).toEqual(["sync a", "update b", "sync a,b", "sync a,b"]);
  expect(failures).toEqual(["refused", "refused", undefined]);
  expect(applied).toEqual([1, 2]);
});

test("what somebody took away is told and written again", async () => {
  const recorded = start({ verifyIntervalMs: 20 });
  recorded.mailbox.put({ revision: 1, table: table("a"), changes: [] });
  await waitFor(() => recorded.applied.includes(1), { what: "the sync" });
  recorded.drift = { intact: false, missing: ["nat OUTPUT: our jump"] };
  await waitFor(() => recorded.done.length === 2, { what: "the repair" });
  expect(recorded.done).toEqual(["sync a", "sync a"]);
  expect(recorded.drifts).toEqual([["nat OUTPUT: our jump"]]);
});

test("it is looked after also while changes come without end", async () => {
  const recorded = start({ verifyIntervalMs: 20 });
  recorded.mailbox.put({ revision: 1, table: table("a"), changes: [] });
  let revision = 1;
  const timer = setInterval(() => recorded.mailbox.put({ revision: ++revision, changes: [added(`s${revision}`)] }), 2);
  onTestFinished(() => clearInterval(timer));
  await waitFor(() => recorded.applied.length > 5, { what: "some updates" });
  recorded.drift = { intact: false, missing: ["nat"] };
  await waitFor(() => recorded.drifts.length > 0, { what: "the drift to be seen" });
});

/** A mailbox whose taking the test answers: what the loop waits for, and for how long, is seen. */
function aSteppedMailbox() {
  const waits: number[] = [];
  let answer: ((update: TableUpdate | undefined) => void) | undefined;
  const mailbox: TableMailbox = {
    put: () => undefined,
    take: ({ timeoutMs }, signal) =>
      new Promise((resolve) => {
        waits.push(timeoutMs);
        answer = resolve;
        signal.addEventListener("abort", () => resolve(undefined), { once: true });
      }),
    untilNext: (signal) => ({ signal, [Symbol.dispose]: () => undefined }),
  };
  /** Answers, and returns how long the loop waits next. */
  const give = async (update?: TableUpdate): Promise<number | undefined> => {
    const asked = waits.length;
    answer?.(update);
    await waitFor(() => waits.length > asked, { what: "the loop to wait again" });
    return waits.at(-1);
  };
  return { mailbox, give };
}

test("while the kernel refuses, changes do not make the tries more frequent", async () => {
  let clock = 1000;
  const { mailbox, give } = aSteppedMailbox();
  const recorded = start({ mailbox, now: () => clock });
  recorded.refuse = 8;
  expect(await give({ revision: 1, table: table("a"), changes: [] })).toBe(100);
  for (const waitMs of [90, 80, 70]) {
    clock += 10;
    expect(await give({ revision: clock, changes: [added("b")] })).toBe(waitMs);
  }
  expect(recorded.done).toEqual(["sync a"]);
  for (const [passMs, nextMs] of [
    [70, 200],
    [200, 400],
    [400, 800],
    [800, 1600],
    [1600, 3200],
    [3200, 5000],
    [5000, 5000],
  ] as const) {
    clock += passMs - 1;
    expect(await give({ revision: clock, changes: [added("c")] })).toBe(1);
    clock += 1;
    expect(await give()).toBe(nextMs);
  }
  expect(recorded.done).toHaveLength(8);
  clock += 5000;
  expect(await give({ revision: 9999, changes: [added("d")] })).toBe(10_000);
  expect(recorded.done.at(-1)).toBe("sync a,b,c,d");
  expect(recorded.applied).toEqual([9999]);
});

test("a write of a look that fails just when a change comes is a failure: the next write is a whole one", async () => {
  const recorded = start({ verifyIntervalMs: 20 });
  recorded.mailbox.put({ revision: 1, table: table("a"), changes: [] });
  await waitFor(() => recorded.applied.includes(1), { what: "the sync" });
  recorded.slowLook = "failing";
  await waitFor(() => recorded.done.includes("look"), { what: "the look" });
  recorded.mailbox.put({ revision: 2, changes: [added("b")] });
  await waitFor(() => recorded.applied.includes(2), { what: "the change" });
  expect(recorded.failures[0]).toBe("could not write");
  expect(recorded.done.filter((what) => what !== "look")).toEqual(["sync a", "sync a,b"]);
});
