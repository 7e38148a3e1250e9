import { expect, test } from "vitest";
import { aHostTable } from "#test/tables.ts";
import { chainDrift, hookDrift, hookLines, parseListing } from "./listing.ts";
import { jumpsOf } from "./render.ts";

const jumps = jumpsOf(aHostTable());
const jump = (hook: string): string => `-A ${hook} ${jumps.find((one) => one.table === "nat" && one.hook === hook)?.rule ?? ""}`;
const nat = (...rules: string[]): string =>
  [
    "*nat",
    ":PREROUTING ACCEPT [1:60]",
    ":OUTPUT ACCEPT [0:0]",
    ":POSTROUTING ACCEPT [0:0]",
    ":DOCKER - [0:0]",
    ":FL-SERVICES - [0:0]",
    ...rules,
    "COMMIT",
  ].join("\n");
const whole = [jump("PREROUTING"), jump("OUTPUT"), jump("POSTROUTING")];
const docker = "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER";

test("rules are ours by where they lead, not by what they say", () => {
  const listing = parseListing(
    nat(...whole, docker, '-A DOCKER -m comment --comment "see -j FL-SERVICES" -j RETURN', "-A FL-SERVICES -j RETURN"),
  );
  expect(listing.foreignRules).toBe(2);
  expect(listing.chains).toEqual(new Map([["FL-SERVICES", 1]]));
  expect(hookLines("nat", listing, []).map((line) => line.slice(0, 15))).toEqual(["-D PREROUTING -", "-D OUTPUT -d 10", "-D POSTROUTING "]);
});

test("jumps that stand first, each once, are as they should be", () => {
  expect(hookDrift("nat", parseListing(nat(...whole, docker)), jumps)).toEqual([]);
});

test.for([
  { name: "a jump that is gone", rules: whole.slice(0, 2), says: "nat POSTROUTING: jump to FL-POSTROUTING" },
  { name: "a rule that was put before ours", rules: [docker, ...whole], says: "nat PREROUTING: our jumps are not first any more" },
  { name: "a jump that stands there twice", rules: [...whole, jump("OUTPUT")], says: "nat OUTPUT: a jump of ours stands there twice" },
])("$name is seen", ({ rules, says }) => {
  expect(hookDrift("nat", parseListing(nat(...rules)), jumps)).toEqual([says]);
});

test("a chain that is gone, shorter, or nobody's is named", () => {
  const wanted = new Map([["FL-SERVICES", 2], ["FL-POSTROUTING", 1]]); // prettier-ignore
  expect(chainDrift("nat", parseListing(nat(":FL-OLD - [0:0]", "-A FL-SERVICES -j RETURN")), wanted)).toEqual([
    "nat chain FL-SERVICES: 1 of 2 rules",
    "nat chain FL-POSTROUTING",
    "nat chain FL-OLD should not be there",
  ]);
});
