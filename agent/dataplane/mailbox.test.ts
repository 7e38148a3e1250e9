import { expect, test } from "vitest";
import type { CompiledService } from "#agent/compile/table.ts";
import { aCompiled, aFrontend, aTable } from "#test/tables.ts";
import { createTableMailbox, onlyOf, type TableUpdate } from "./mailbox.ts";

const table = aTable([]);
const version = (n: number): CompiledService => aCompiled([aFrontend({ port: n })]);
const step = (revision: number, previous: number | undefined, next: number | undefined) => ({
  revision,
  changes: [
    {
      key: "default/web",
      previous: previous === undefined ? undefined : version(previous),
      next: next === undefined ? undefined : version(next),
    },
  ],
});
const signal = new AbortController().signal;

test("what waits is taken at once, as one piece of work from the first state to the last", async () => {
  const mailbox = createTableMailbox();
  mailbox.put(step(1, 1, 2));
  mailbox.put(step(2, 2, 3));
  expect(await mailbox.take({ timeoutMs: 1_000 }, signal)).toEqual({ revision: 2, table: undefined, changes: step(2, 1, 3).changes });
  expect(await mailbox.take({ timeoutMs: 1 }, signal)).toBeUndefined();
});

test("what came and went meanwhile is nothing to do, but its revision counts", async () => {
  const mailbox = createTableMailbox();
  mailbox.put(step(1, undefined, 1));
  mailbox.put(step(2, 1, undefined));
  expect(await mailbox.take({ timeoutMs: 1_000 }, signal)).toEqual({ revision: 2, table: undefined, changes: [] });
});

test("a whole table makes what was before it void, and keeps what comes after it", async () => {
  const mailbox = createTableMailbox();
  mailbox.put(step(1, 1, 2));
  mailbox.put({ revision: 5, table, changes: [] });
  mailbox.put(step(6, 2, 3));
  expect(await mailbox.take({ timeoutMs: 1_000 }, signal)).toEqual({ revision: 6, table, changes: step(6, 2, 3).changes });
});

test("who waits is woken by what comes, and by the end", async () => {
  const mailbox = createTableMailbox();
  const waiting = mailbox.take({ timeoutMs: 10_000 }, signal);
  mailbox.put(step(1, 1, 2));
  expect((await waiting)?.revision).toBe(1);
  const end = new AbortController();
  const last = mailbox.take({ timeoutMs: 10_000 }, end.signal);
  end.abort(new Error("over"));
  await expect(last).rejects.toThrow("over");
});

test("a family sees what changes for it, and every revision", () => {
  const v4 = aFrontend();
  const v6 = aFrontend({ family: "IPv6", address: "fd00:96::10" });
  const seen: TableUpdate[] = [];
  const sink = onlyOf("IPv6", { put: (update) => seen.push(update) });
  const both = { key: "default/web", previous: aCompiled([v4]), next: aCompiled([v4, v6]) };
  const other = { key: "default/web", previous: aCompiled([v4, v6]), next: aCompiled([v6]) };
  const gone = { key: "default/db", previous: aCompiled([v4]), next: undefined };
  sink.put({ revision: 1, table, changes: [] });
  sink.put({ revision: 2, changes: [both] });
  sink.put({ revision: 3, changes: [other, gone] });
  expect(seen).toEqual([
    { revision: 1, table, changes: [] },
    { revision: 2, changes: [both] },
    { revision: 3, changes: [] },
  ]);
});
