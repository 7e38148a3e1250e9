import { expect, onTestFinished, test } from "vitest";
import { createReceipts } from "./receipts.ts";

/** Hosts that are all Ready, and a history of a hundred commits. */
function aFleet(...names: string[]) {
  const ready = new Set(names);
  const listeners = new Set<(nodes: Iterable<string>) => void>();
  const receipts = createReceipts({
    store: { revision: 100, epoch: "e", knowsHistory: (epoch) => epoch === "e" },
    leases: {
      of: (node) => ({ ready: ready.has(node), lastHeardMs: 0, problems: [] }),
      onChange: (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
    nodeNames: () => names,
    caughtUp: async () => undefined,
  });
  onTestFinished(() => receipts.stop());
  const lease = (node: string, isReady: boolean): void => {
    if (isReady) ready.add(node);
    else ready.delete(node);
    for (const listener of listeners) listener([node]);
  };
  const poll = (node: string, applied: number): void => receipts.report(node, { applied, epoch: "e", by: "poll" });
  const beat = (node: string, applied: number): void => receipts.report(node, { applied, epoch: "e", by: "heartbeat" });
  return { receipts, lease, poll, beat };
}

/** Whether the wait is over once all that has happened is seen. */
async function isOver(wait: Promise<unknown>): Promise<boolean> {
  let over = false;
  void wait.then(() => (over = true));
  await new Promise((resolve) => setImmediate(resolve));
  return over;
}

const waitOn = ({ receipts }: ReturnType<typeof aFleet>) => {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  return receipts.wait(100, 60_000, stop.signal);
};

test("a wait is over when the last host holds it, and not before", async () => {
  const fleet = aFleet("a", "b");
  const waits = [waitOn(fleet), waitOn(fleet)];
  fleet.poll("a", 100);
  fleet.poll("b", 99);
  fleet.poll("b", 99);
  for (const wait of waits) expect(await isOver(wait)).toBe(false);
  fleet.poll("b", 101);
  for (const wait of waits) expect(await wait).toMatchObject({ revision: 100, done: true });
});

test("a host that is lost is not waited for, and one that comes meanwhile is", async () => {
  const fleet = aFleet("a", "b");
  fleet.lease("b", false);
  const wait = waitOn(fleet);
  expect(await isOver(wait)).toBe(false);
  fleet.lease("b", true);
  fleet.poll("a", 100);
  expect(await isOver(wait)).toBe(false);
  fleet.lease("b", false);
  expect(await wait).toMatchObject({
    done: true,
    nodes: [
      { name: "a", ready: true, applied: 100 },
      { name: "b", ready: false },
    ],
  });
});

test("a deleted host is not waited for", async () => {
  const fleet = aFleet("a", "b");
  const wait = waitOn(fleet);
  fleet.poll("a", 100);
  fleet.receipts.forget("b");
  expect(await isOver(wait)).toBe(true);
});

test("a host that holds less than before is waited for again", async () => {
  const fleet = aFleet("a", "b");
  const wait = waitOn(fleet);
  fleet.poll("a", 100);
  fleet.poll("a", 50);
  fleet.poll("b", 100);
  expect(await isOver(wait)).toBe(false);
  fleet.poll("a", 100);
  expect(await isOver(wait)).toBe(true);
});

test("a heartbeat that comes late takes back no receipt; one host that says so again and again does", () => {
  const { receipts, poll, beat } = aFleet("a");
  poll("a", 100);
  beat("a", 90);
  expect(receipts.appliedBy("a")).toBe(100);
  beat("a", 100);
  beat("a", 90);
  beat("a", 90);
  expect(receipts.appliedBy("a")).toBe(100);
  beat("a", 90);
  expect(receipts.appliedBy("a")).toBe(90);
  poll("a", 80);
  expect(receipts.appliedBy("a")).toBe(80);
});
