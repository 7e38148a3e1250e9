import { expect, test } from "vitest";
import { createTurns } from "./in-turn.ts";

test("work on one key is done one after the other, on different keys side by side, and a failure stops nobody", async () => {
  const inTurn = createTurns();
  const events: string[] = [];
  const gate = Promise.withResolvers<undefined>();
  const first = inTurn<never>("a", async () => {
    events.push("a1 begins");
    await gate.promise;
    events.push("a1 ends");
    throw new Error("failed");
  });
  const second = inTurn("a", async () => {
    events.push("a2");
  });
  await inTurn("b", async () => void events.push("b"));
  gate.resolve(undefined);
  await expect(first).rejects.toThrow("failed");
  await second;
  expect(events).toEqual(["a1 begins", "b", "a1 ends", "a2"]);
});
