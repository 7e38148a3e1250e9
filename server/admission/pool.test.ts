import fc from "fast-check";
import { expect, test } from "vitest";
import { cpuMs } from "#test/cpu-time.ts";
import { createPool } from "./pool.ts";

test("every number that is not reserved is given out once before any comes again", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.array(fc.nat(299)),
      fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
      (size, taken, randoms) => {
        const reserved = new Set(taken.filter((index) => index < size));
        const pool = createPool({ size, reserved, random: () => Number(randoms.next().value) });
        const seen = new Set<number>();
        for (let i = 0; i < size - reserved.size; i++) {
          const index = pool.next() ?? -1;
          expect(index >= 0 && index < size && !reserved.has(index) && !seen.has(index)).toBe(true);
          seen.add(index);
          pool.use(index);
        }
        expect(pool.next()).toBeUndefined();
        expect(pool.free).toBe(0);
      },
    ),
  );
});

test("a number that was given back comes again only after all the others", () => {
  const pool = createPool({ size: 1000, reserved: new Set([0]), random: Math.random });
  const first = pool.next() ?? -1;
  pool.use(first);
  pool.release(first);
  for (let i = 0; i < 998; i++) expect(pool.next()).not.toBe(first);
  expect(pool.next()).toBe(first);
});

test("ten thousand allocations in a /16 take a moment, also when it is nearly full", () => {
  const size = 65_536;
  const pool = createPool({ size, reserved: new Set([0, 10, size - 1]), random: Math.random });
  const useAll = (): void => {
    for (let i = pool.next(); i !== undefined; i = pool.next()) pool.use(i);
  };
  expect(cpuMs(useAll)).toBeLessThan(1000);
  expect(pool.free).toBe(0);
});
