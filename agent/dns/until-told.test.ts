import { expect, test } from "vitest";
import { createUntilTold } from "./until-told.ts";

test("a question waits until it is told, is then asked once, and later ones do not wait", () => {
  const until = createUntilTold(60_000);
  const asked: string[] = [];
  expect(until.hold(() => asked.push("a"))).toBe(true);
  expect(asked).toEqual([]);
  until.release();
  until.release();
  expect(asked).toEqual(["a"]);
  expect(until.hold(() => asked.push("b"))).toBe(false);
});

test("nobody waits for longer than the patience, and without any nobody waits", async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  expect(createUntilTold(20).hold(() => resolve("answered"))).toBe(true);
  await expect(promise).resolves.toBe("answered");
  expect(createUntilTold(0).hold(() => undefined)).toBe(false);
});

test("no more wait than there is room for", () => {
  const until = createUntilTold(60_000);
  const took = Array.from({ length: 1_001 }, () => until.hold(() => undefined));
  expect(took.filter(Boolean)).toHaveLength(1_000);
  until.release();
});
