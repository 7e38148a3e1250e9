import { expect, test } from "vitest";
import { refusedProblems } from "./refused-addresses.ts";

const refusedBy = (count: number): ReadonlyMap<string, { address: string; why: string }[]> =>
  new Map(Array.from({ length: count }, (_, i) => [`default/s${i}`, [{ address: `10.9.0.${i}`, why: "it is a gateway of this host" }]]));

test("addresses that are not served here are a few lines, however many there are", () => {
  expect(refusedProblems({ refused: new Map() })).toEqual([]);
  expect(refusedProblems({ refused: refusedBy(1) })).toEqual([
    "service default/s0: 10.9.0.0 is not served here: it is a gateway of this host",
  ]);
  const many = refusedProblems({ refused: refusedBy(300) });
  expect(many).toHaveLength(5);
  expect(many[4]).toBe("296 more services have addresses that are not served here");
});
