import { expect, test } from "vitest";
import { frontendsOf, placeOf } from "#agent/dataplane/frontends.ts";
import { changeOf, tableOf, virtualIp } from "./ten-thousand.ts";

test("each service has an address of its own, in the range and in a row", () => {
  const places = frontendsOf(tableOf(10_000).services.values(), "IPv4").map(placeOf);
  expect(new Set(places).size).toBe(10_000);
  expect([virtualIp(0), virtualIp(255), virtualIp(256), virtualIp(9_999)]).toEqual([
    "10.96.1.0",
    "10.96.1.255",
    "10.96.2.0",
    "10.96.40.15",
  ]);
});

test("changes one after the other lead to the state that the table says", () => {
  const state = new Map(tableOf(50).services);
  for (let round = 1; round <= 120; round++) {
    const { key, previous, next } = changeOf(round, 50);
    expect(state.get(key)).toEqual(previous);
    expect(next).not.toEqual(previous);
    if (next) state.set(key, next);
  }
  expect([...state.values()]).toEqual([...tableOf(50, { changes: 120 }).services.values()]);
});
