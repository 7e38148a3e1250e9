import { expect, test } from "vitest";
import { aHostTable } from "#test/tables.ts";
import { jumpsOf } from "./jumps.ts";
import { chainDrift, hookDrift, hookLines, hookRewrite, parseListing } from "./listing.ts";
import { sumOf } from "./render.ts";
import { wordsOf } from "./words.ts";

const words = wordsOf("IPv4");
const jumps = jumpsOf(words, aHostTable(), { table: "nat", present: { external: false, nodePorts: false } });
const jump = (hook: string): string => `-A ${hook} ${jumps.find((one) => one.hook === hook)?.rule ?? ""}`;
const all = (hook: string): string[] => jumps.filter((one) => one.hook === hook).map(({ rule }) => `-A ${hook} ${rule}`);
const nat = (...rules: string[]) =>
  parseListing(
    words,
    [
      "*nat",
      ":PREROUTING ACCEPT [1:60]",
      ":OUTPUT ACCEPT [0:0]",
      ":POSTROUTING ACCEPT [0:0]",
      ":DOCKER - [0:0]",
      ":FL-SERVICES - [0:0]",
      ...rules,
      "COMMIT",
    ].join("\n"),
  );
const whole = [...all("PREROUTING"), ...all("OUTPUT"), ...all("POSTROUTING")];
const docker = "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER";

test("rules are ours by where they lead, not by what they say", () => {
  const listing = nat(...whole, docker, '-A DOCKER -m comment --comment "see -j FL-SERVICES" -j RETURN', "-A FL-SERVICES -j RETURN");
  expect(listing.foreignRules).toBe(2);
  expect(listing.chains).toEqual(new Map([["FL-SERVICES", sumOf(["-j RETURN"])]]));
  expect(hookLines(words, listing, []).map((line) => line.slice(0, 15))).toEqual([
    "-D PREROUTING -",
    "-D PREROUTING -",
    "-D OUTPUT -d 10",
    "-D OUTPUT -d 10",
    "-D POSTROUTING ",
  ]);
});

test("jumps that stand first, each once, are as they should be", () => {
  expect(hookDrift(words, { table: "nat", listing: nat(...whole, docker), wanted: jumps })).toEqual([]);
});

test.for([
  { name: "a jump that is gone", rules: whole.slice(0, 4), says: "nat POSTROUTING: jump to FL-OURS" },
  { name: "a jump whose spare is there", rules: whole.toSpliced(2, 1), says: "nat OUTPUT: one of our jumps" },
  { name: "a rule that was put before ours", rules: [docker, ...whole], says: "nat PREROUTING: our jumps are not first any more" },
  { name: "a jump that stands there twice", rules: [...whole, jump("OUTPUT")], says: "nat OUTPUT: a jump of ours stands there twice" },
  {
    name: "a jump that matches something else",
    rules: [...whole.slice(0, 4), "-A POSTROUTING -s 192.0.2.1/32 -j FL-OURS"],
    says: "nat POSTROUTING: a jump of ours was altered",
  },
])("$name is seen", ({ rules, says }) => {
  expect(hookDrift(words, { table: "nat", listing: nat(...rules), wanted: jumps })).toEqual([says]);
});

test("a chain that is gone, shorter, other, or nobody's is named", () => {
  const wanted = new Map([
    ["FL-SERVICES", sumOf(["-j RETURN", "-j ACCEPT"])],
    ["FL-POSTROUTING", sumOf(["-j RETURN"])],
    ["FL-OURS", sumOf(["-s 192.0.2.1/32 -j RETURN"])],
  ]);
  const listing = nat(":FL-OLD - [0:0]", ":FL-OURS - [0:0]", "-A FL-SERVICES -j RETURN", "-A FL-OURS -s 192.0.2.2/32 -j RETURN");
  expect(chainDrift({ table: "nat", listing, wanted })).toEqual([
    "nat chain FL-SERVICES: 1 of 2 rules",
    "nat chain FL-POSTROUTING",
    "nat chain FL-OURS: other rules than ours",
    "nat chain FL-OLD should not be there",
  ]);
});

test("quotes that iptables-save leaves out make no difference, and the order of rules does", () => {
  const listing = nat('-A FL-SERVICES -m comment --comment "web" -j RETURN', "-A FL-SERVICES -j ACCEPT");
  const rules = ["-m comment --comment web -j RETURN", "-j ACCEPT"];
  expect(chainDrift({ table: "nat", listing, wanted: new Map([["FL-SERVICES", sumOf(rules)]]) })).toEqual([]);
  expect(chainDrift({ table: "nat", listing, wanted: new Map([["FL-SERVICES", sumOf(rules.toReversed())]]) })).toHaveLength(1);
});

test("a hook is written anew only when something changes in it, and then in its order", () => {
  const more = jumpsOf(words, aHostTable(), { table: "nat", present: { external: false, nodePorts: true } });
  expect(hookRewrite(jumps, jumps)).toEqual([]);
  expect(hookRewrite(jumps, more).map((line) => /^(\S+ \S+(?: \d)?).* (\S+)$/.exec(line)?.slice(1).join(" "))).toEqual([
    "-D PREROUTING FL-SERVICES",
    "-D PREROUTING FL-SERVICES",
    "-I PREROUTING 1 FL-SERVICES",
    "-I PREROUTING 2 FL-SERVICES",
    "-I PREROUTING 3 FL-NODE-PORTS",
    "-D OUTPUT FL-SERVICES",
    "-D OUTPUT FL-SERVICES",
    "-I OUTPUT 1 FL-SERVICES",
    "-I OUTPUT 2 FL-SERVICES",
    "-I OUTPUT 3 FL-NODE-PORTS",
  ]);
});
