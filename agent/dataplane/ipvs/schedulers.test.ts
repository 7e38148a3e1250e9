import { expect, test } from "vitest";
import { aBackend } from "#test/tables.ts";
import { flagsOf, hashFor, hasOurFlag, schedulerFor, weightsFor } from "./schedulers.ts";

const backends = [1, 1].map((weight, i) => aBackend(`172.30.0.${i + 2}`, 8080, { weight }));
const choice = { backends, whenEmpty: "reject" } as const;

test("what is asked for is taken where the kernel has it", () => {
  expect(schedulerFor("lc", choice, () => true)).toBe("lc");
  expect(schedulerFor("lc", choice, () => false)).toBe("rr");
  expect(schedulerFor("nonsense", choice, () => true)).toBe("rr");
  expect(schedulerFor(undefined, { ...choice, backends: [...backends, aBackend("172.30.0.9", 8080, { weight: 2 })] }, () => true)).toBe(
    "wrr",
  );
});

test("affinity by a hash: mh before sh, the one asked for before both, and no port in it", () => {
  expect(hashFor(undefined, () => true)).toBe("mh");
  expect(hashFor("lc", () => true)).toBe("mh");
  expect(hashFor("sh", () => true)).toBe("sh");
  expect(hashFor("mh", (name) => name === "sh")).toBe("sh");
  expect(hashFor(undefined, () => false)).toBeUndefined();
  expect(["mh", "sh", "rr"].map((name) => flagsOf(name))).toEqual(["mh-fallback", "sh-fallback", ""]);
});

test("a virtual server that nothing else says is ours has a flag, as ipvsadm prints it, and is known by it", () => {
  const flags = ["rr", "sh"].map((name) => flagsOf(name, { isNamed: true }));
  expect(flags).toEqual(["flag-3", "sh-fallback,flag-3"]);
  expect([...flags, "", "sh-fallback", "sh-fallback,sh-port"].map((one) => hasOurFlag({ flags: one }))).toEqual([
    true,
    true,
    false,
    false,
    false,
  ]);
});

test.for([
  ["equal ones", [100, 100, 100], [1, 1, 1]],
  ["different ones", [25, 75], [1, 3]],
  ["one that takes nothing new", [50, 0, 50], [1, 0, 1]],
  ["none", [], []],
  ["large ones without a common divisor", [65_535, 65_534], [128, 128]],
  ["a small one among large ones", [1, 65_535], [1, 256]],
] as const)("sh has 256 places to share by weight: %s", ([, weights, wanted]) => {
  const reals = new Map(weights.map((weight, i) => [`172.30.0.${i}:80`, weight]));
  expect([...weightsFor("sh", reals).values()]).toEqual(wanted);
  expect(weightsFor("mh", reals)).toBe(reals);
});
