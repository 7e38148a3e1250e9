import { expect, test } from "vitest";
import { clearUntilGone } from "./clear-leftovers.ts";

test("what another mode left is tried every few seconds, however long it takes: a source range that comes meanwhile is not in it", async () => {
  const waits: number[] = [];
  const troubles: unknown[] = [];
  const removed: object[] = [];
  const clear = async (): Promise<readonly string[]> => {
    if (waits.length < 30) throw new Error("busy");
    return ["nft table ip fairlead"];
  };
  const log = { info: (what: object) => removed.push(what), warn: () => undefined, error: () => undefined };
  const wait = async (ms: number): Promise<void> => void waits.push(ms);
  await clearUntilGone({ clear, onTrouble: (error) => troubles.push(error), log, wait }, new AbortController().signal);
  expect(waits).toHaveLength(30);
  expect(Math.max(...waits)).toBeLessThanOrEqual(5000);
  expect(troubles).toHaveLength(31);
  expect(troubles.at(-1)).toBeUndefined();
  expect(removed).toEqual([{ what: "nft table ip fairlead" }]);
});
