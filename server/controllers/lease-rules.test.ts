import fc from "fast-check";
import { expect, test } from "vitest";
import { judge, nextLookMs, type Lease, type Standing } from "./lease-rules.ts";

const rules = { nodeTimeoutMs: 5000, heartbeatIntervalMs: 1000 };

/** `a:ready:200` = heard of 200 ms ago; `!` at the end = never heard of since the server started. */
function leases(...texts: string[]): Lease[] {
  return texts.map((text) => {
    const [name = "", standing = "", silent = ""] = text.replace("!", "").split(":");
    return { name, standing: standing as Standing, silentMs: Number(silent), heard: !text.endsWith("!") };
  });
}

const rows: { name: string; leases: Lease[]; want: Record<string, Standing> }[] = [
  { name: "nobody is silent", leases: leases("a:ready:100", "b:ready:900"), want: {} },
  { name: "one of three dies", leases: leases("a:ready:5000", "b:ready:100", "c:ready:200"), want: { a: "lost" } },
  { name: "one of two dies", leases: leases("a:ready:5000", "b:ready:100"), want: { a: "lost" } },
  { name: "both of two go silent", leases: leases("a:ready:5000", "b:ready:4200"), want: { a: "kept" } },
  { name: "the only host goes silent: nobody would be left", leases: leases("a:ready:6000"), want: { a: "kept" } },
  { name: "the last host goes silent long after the other", leases: leases("a:ready:5000", "b:lost:60000"), want: { a: "kept" } },
  { name: "two of three at once", leases: leases("a:ready:5000", "b:ready:4000", "c:ready:10"), want: { a: "kept" } },
  {
    name: "a third of six is not more than a third",
    leases: leases("a:ready:5000", "b:ready:5001", ...six()),
    want: { a: "lost", b: "lost" },
  },
  {
    name: "the first to run out already counts those that missed two heartbeats",
    leases: leases("a:ready:5000", "b:ready:3100", "c:ready:3500", "d:ready:4900", "e:ready:10", "f:ready:20"),
    want: { a: "kept" },
  },
  { name: "one late heartbeat makes no suspect", leases: leases("a:ready:5000", "b:ready:2900", "c:ready:10"), want: { a: "lost" } },
  {
    name: "one that was lost a moment ago belongs to the same failure",
    leases: leases("a:ready:5000", "b:lost:9000", "c:ready:10", "d:ready:10"),
    want: { a: "kept" },
  },
  {
    name: "one that was lost before that does not",
    leases: leases("a:ready:5000", "b:lost:10000", "c:ready:10", "d:ready:10"),
    want: { a: "lost" },
  },
  { name: "heartbeats come back", leases: leases("a:kept:10", "b:lost:20", "c:ready:30"), want: { a: "ready", b: "ready" } },
  {
    name: "the brake is released when enough are back, and who stays silent is lost",
    leases: leases("a:kept:20000", "b:kept:10", "c:ready:10"),
    want: { a: "lost", b: "ready" },
  },
  { name: "while they stay silent they are kept", leases: leases("a:kept:90000", "b:kept:90000", "c:ready:10"), want: {} },
  { name: "a restarted server grants a fresh lease", leases: leases("a:ready:1000!", "b:kept:1000!", "c:lost:1000!"), want: {} },
  { name: "a host that never came does not count", leases: leases("a:ready:5000", "b:ready:10", "c:lost:9000!"), want: { a: "lost" } },
];

function six(): string[] {
  return ["c:ready:1", "d:ready:1", "e:ready:1", "f:ready:1"];
}

test.for(rows)("$name", ({ leases: all, want }) => {
  expect(Object.fromEntries(judge(all, rules).verdicts)).toEqual(want);
});

const aLease = fc.record({
  standing: fc.constantFrom<Standing>("ready", "kept", "lost"),
  silentMs: fc.nat(20_000),
  heard: fc.boolean(),
});
const someLeases = fc.array(aLease, { maxLength: 40 }).map((all) => all.map((one, i) => ({ ...one, name: String(i) })));

test("whatever happens: no host that is heard of is taken out, and never more than a third at once, nor the last one", () => {
  fc.assert(
    fc.property(someLeases, (all) => {
      const { verdicts } = judge(all, rules);
      const serving = all.filter(({ standing }) => standing !== "lost");
      const removed = serving.filter(({ name }) => verdicts.get(name) === "lost");
      for (const { silentMs } of removed) expect(silentMs).toBeGreaterThanOrEqual(rules.nodeTimeoutMs);
      if (removed.length > 1) expect(removed.length * 3).toBeLessThanOrEqual(all.length);
      const left = all.filter(({ name, standing }) => (verdicts.get(name) ?? standing) !== "lost");
      if (removed.length > 0) expect(left.length).toBeGreaterThan(0);
    }),
  );
});

test("judging again at once changes nothing", () => {
  fc.assert(
    fc.property(someLeases, (all) => {
      const { verdicts } = judge(all, rules);
      const after = all.map((one) => ({ ...one, standing: verdicts.get(one.name) ?? one.standing }));
      expect([...judge(after, rules).verdicts]).toEqual([]);
    }),
  );
});

test("the next look is when the lease runs out, and once more when a lost host no longer counts as just lost", () => {
  expect(nextLookMs(1000, "ready", rules)).toBe(4000);
  expect(nextLookMs(6000, "lost", rules)).toBe(4000);
  expect(nextLookMs(6000, "kept", rules)).toBeUndefined();
  expect(nextLookMs(10_000, "lost", rules)).toBeUndefined();
});
