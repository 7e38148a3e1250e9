import { expect, test } from "vitest";
import type { Told } from "../exec.ts";
import { openRuleWatch } from "./rule-watch.ts";

function aWatch() {
  let told: Told | undefined;
  const ends: string[] = [];
  const watch = openRuleWatch({
    tools: { follow: (_file, _args, given) => ((told = given), { close: () => undefined }) },
    table: "ip fairlead",
    onEnd: (why) => ends.push(why),
  });
  const say = (...lines: string[]): void => lines.forEach((line) => told?.onLine(line));
  return { watch, say, ends };
}

test("a transaction with a mark that we expect is ours, and is what says that we are listening", () => {
  const { watch, say } = aWatch();
  watch.expect("0x5 . 0x1");
  expect(watch.isListening).toBe(false);
  say(
    "add element ip fairlead services { 10.96.0.1 . 6 . 80 : goto pick_1 }",
    "add element ip fairlead writes { 0x00000005 . 0x00000001 }",
  );
  say("# new generation 7 by process 9 (nft)");
  expect(watch.isListening).toBe(true);
  expect(watch.changes()).toEqual([]);
});

test("what others do to our table is told, what they do elsewhere is not, and a mark counts once", () => {
  const { watch, say } = aWatch();
  watch.expect("0x5 . 0x1");
  say("add element ip fairlead writes { 0x5 . 0x1 }", "# new generation 7 by process 9 (nft)");
  say("add rule ip nat DOCKER accept", "add rule ip fairleader x accept", "# new generation 8 by process 9 (dockerd)");
  expect(watch.changes()).toEqual([]);
  say("add element ip fairlead writes { 0x5 . 0x1 }", "delete table ip fairlead", "# new generation 9 by process 9 (nft)");
  expect(watch.changes()).toEqual(["the whole table: deleted"]);
});

test("what was done is told in words, and a flush of everything as what it is", () => {
  const { watch, say } = aWatch();
  say(
    "delete rule ip fairlead nat_output handle 7",
    "delete element ip fairlead services { 1 }",
    "delete element ip fairlead services { 2 }",
  );
  say("# new generation 8 by process 9 (nft)");
  expect(watch.changes()).toEqual(["nat_output: rule deleted", "services: element deleted (2 times)"]);
  const flush = aWatch();
  for (let i = 0; i < 10_000; i++) flush.say(`delete rule ip fairlead chain_${i} handle ${i}`);
  flush.say("delete table ip fairlead", "# new generation 9 by process 9 (nft)");
  expect(flush.watch.changes()).toEqual(["the whole table: deleted"]);
});

test("lost events end it", () => {
  const { say, ends } = aWatch();
  say("# ERROR: We lost some netlink events!");
  expect(ends).toEqual(["nft monitor lost events"]);
});
