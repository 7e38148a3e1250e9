import { expect, test } from "vitest";
import { createFamilyRecord, type FamilyRecord } from "#agent/dataplane/family-record.ts";
import { checksOf, isStuck, renderChecks, type Looked } from "./checks.ts";
import { createAgentMetrics } from "./metrics.ts";
import { answerProbe } from "./serve.ts";

const family = (name: "IPv4" | "IPv6", more: Partial<FamilyRecord> = {}, waitingMs = 0): Looked["families"][number] => ({
  ...createFamilyRecord(name),
  driver: "nftables: it works here",
  isProgrammed: true,
  turnedAt: undefined,
  ...more,
  waitingMs,
});
const faults = (...families: Looked["families"]): (string | undefined)[] => checksOf({ families }).map(({ fault }) => fault);

test.for([
  ["a family that is programmed is well", [family("IPv4")], [undefined]],
  ["not before the first program", [family("IPv4", { isProgrammed: false })], ["the kernel has not been programmed yet"]],
  ["not while a write fails", [family("IPv4"), family("IPv6", { failure: "refused" })], [undefined, "refused"]],
  ["not when a change waits too long", [family("IPv4", {}, 31_000)], ["a change waits for 31 s"]],
  [
    "a family that cannot work here fails nothing while the other runs",
    [family("IPv4"), family("IPv6", { unusable: "no IPv6" })],
    [undefined, undefined],
  ],
  ["a host on which none works is not ready", [family("IPv4", { unusable: "no nft" })], ["no nft"]],
] as const)("%s", ([, families, expected]) => {
  expect(faults(...families)).toEqual(expected);
});

test("/healthz is about changes that do not come into the kernel", () => {
  expect(isStuck({ families: [family("IPv4", { failure: "refused" }, 29_000)] })).toBe(false);
  expect(isStuck({ families: [family("IPv4", {}, 31_000)] })).toBe(true);
  expect(isStuck({ families: [family("IPv4"), family("IPv6", { unusable: "no IPv6" }, 90_000)] })).toBe(false);
});

test("the answers are as Kubernetes' programs give them", async () => {
  const metrics = createAgentMetrics({ families: ["IPv4"], wanted: () => 7, applied: () => 5, waitingMs: () => 1500 });
  metrics.wrote("IPv4", 0.02);
  metrics.failed("IPv4");
  const ask = (path: string, ...families: Looked["families"]) => answerProbe(new URL(path, "http://host"), () => ({ families }), metrics);
  expect(await ask("/readyz", family("IPv4"))).toMatchObject({ status: 200, body: "ok" });
  expect((await ask("/readyz?verbose", family("IPv4")))?.body).toBe(
    "[+]IPv4 data plane ok: nftables: it works here\nreadyz check passed\n",
  );
  expect(await ask("/readyz", family("IPv4", { failure: "line 3\nfailed" }))).toMatchObject({
    status: 503,
    body: "[-]IPv4 data plane failed: line 3 failed\nreadyz check failed\n",
  });
  expect((await ask("/livez", family("IPv4", { failure: "x" }, 1e6)))?.status).toBe(200);
  expect((await ask("/healthz", family("IPv4", {}, 1e6)))?.status).toBe(503);
  expect(await ask("/elsewhere")).toBeUndefined();
  const text = (await ask("/metrics", family("IPv4")))?.body ?? "";
  expect(text).toContain('fairlead_agent_write_failures_total{family="IPv4"} 1');
  expect(text).toContain("fairlead_agent_wanted_revision 7");
  expect(text).toContain("fairlead_agent_applied_revision 5");
  expect(text).toContain('fairlead_agent_waiting_seconds{family="IPv4"} 1.5');
  expect(text).toContain('fairlead_agent_write_seconds_bucket{le="0.025",family="IPv4"} 1');
});

test("what is said of a check is one line, however long the error", () => {
  const { verbose } = renderChecks([{ name: "a", fault: "x\n".repeat(5000), detail: "" }], "readyz");
  expect(verbose.split("\n")).toHaveLength(3);
  expect(verbose.length).toBeLessThan(1200);
});
