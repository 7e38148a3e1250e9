import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { waitFor } from "#test/wait-for.ts";
import { createNodeEvents } from "./node-events.ts";

function telling(create: () => Promise<unknown> = async () => undefined) {
  const told: { reason: string; message: string; name: string }[] = [];
  const client = {
    create: (_kind: string, event: { reason?: string; message?: string; metadata: { name?: string } }) => {
      told.push({ reason: event.reason ?? "", message: event.message ?? "", name: event.metadata.name ?? "" });
      return create();
    },
  };
  const end = new AbortController();
  const log = { info: () => undefined };
  return { told, end, events: createNodeEvents({ client: client as never, node: "vm-1", log }, end.signal) };
}

test("the same is told once in a while, another thing at once, and nothing after the end", async () => {
  const { told, events, end } = telling();
  events.tell({ reason: "RulesRepaired", about: "IPv4", message: "a" });
  events.tell({ reason: "RulesRepaired", about: "IPv4", message: "b" });
  events.tell({ reason: "RulesRepaired", about: "IPv6", message: "c" });
  expect(told.map(({ message }) => message)).toEqual(["a", "c"]);
  expect(new Set(told.map(({ name }) => name)).size).toBe(2);
  await waitFor(
    () => {
      events.tell({ reason: "RulesNotApplied", about: "IPv4", message: "d", quietMs: 20 });
      return told.length >= 4;
    },
    { what: "the time to be over" },
  );
  end.abort();
  events.tell({ reason: "Other", about: "IPv4", message: "e" });
  expect(told.map(({ message }) => message)).toEqual(["a", "c", "d", "d"]);
});

test("a server that was down hears of it when it is back, once, also where its answer was lost", async () => {
  const answers = [new AppError("ServiceUnavailable", "the server is down"), new AppError("AlreadyExists", "it has it")];
  const { told, events } = telling(() => Promise.reject(answers.shift() ?? new Error("asked too often")));
  events.tell({ reason: "RulesRepaired", about: "IPv4", message: "a" });
  await waitFor(() => told.length === 2, { what: "the second try" });
  await waitFor(() => answers.length === 0, { what: "its answer" });
  expect(new Set(told.map(({ name }) => name)).size).toBe(1);
});

test("however much goes wrong, so much is told", () => {
  const { told, events, end } = telling(() => Promise.reject(new AppError("ServiceUnavailable", "the server is down")));
  for (let i = 0; i < 1000; i++) events.tell({ reason: "PortNotOpened", about: `port ${i}`, message: "x".repeat(5000) });
  expect(told).toHaveLength(64);
  expect(told[0]?.message).toHaveLength(1024);
  end.abort();
});
