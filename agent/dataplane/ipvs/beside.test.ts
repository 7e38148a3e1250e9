import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { aHostTable } from "#test/tables.ts";
import type { KernelTools } from "../exec.ts";
import { openSchedule } from "../schedule.ts";
import { besideRules, openBeside } from "./beside.ts";
import { openEdge } from "./edge.ts";
import { rulesOf } from "./render.ts";

const signal = new AbortController().signal;
const rules = rulesOf("IPv4", aHostTable({ localCidrs: ["10.200.1.0/24"] }), { isLiberal: false });
const EMPTY = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
const DROPPING = EMPTY.replace(":FORWARD ACCEPT", ":FORWARD DROP");

/** A host whose own rules are in legacy: what its iptables-nft lists is `saved`, and a restore makes the lists of xt_recent that it names. */
async function aHost(saved: string) {
  const procNet = await mkdtemp(join(tmpdir(), "beside-"));
  onTestFinished(() => rm(procNet, { recursive: true }));
  await mkdir(join(procNet, "xt_recent"));
  const host = { saved, restored: [] as string[], isBroken: false, told: [] as string[] };
  const tools: KernelTools = {
    has: async () => true,
    read: async () => undefined,
    run: async (file, _args, { input = "" } = {}) => {
      if (host.isBroken) throw new AppError("KernelRejected", "nf_tables is not there");
      if (file === "iptables-nft-restore") {
        host.restored.push(input);
        for (const [, list = ""] of input.matchAll(/--name (\S+)/g)) await writeFile(join(procNet, "xt_recent", list), "");
      }
      return { stdout: file === "iptables-nft-save" ? host.saved : "", stderr: "", exitCode: 0 };
    },
  };
  const log = { info: (_: object, message: string) => host.told.push(message), warn: () => undefined, error: () => undefined };
  const edge = openEdge(tools, { family: "IPv4", procNet });
  const beside = openBeside({
    tools,
    edge,
    family: "IPv4",
    kind: "legacy",
    log,
    procNet,
    schedule: openSchedule(-1, { shareOfACore: Infinity }),
  });
  return { host, beside, lists: async () => readdir(join(procNet, "xt_recent")), procNet };
}

test("the other kind gets the rules of filter and those that keep services from being translated, with lists of their own", async () => {
  const { jumps, chains } = besideRules(rules);
  expect([...chains.nat.keys()]).toEqual(["FLV-KEEP-PLACES", "FLV-KEEP-VIPS", "FLV-KEEP-NODE"]);
  expect(chains.mangle.size).toBe(0);
  expect([...chains.filter.keys()]).toEqual([...rules.chains.filter.keys()]);
  expect(new Set(jumps.map(({ table }) => table))).toEqual(new Set(["nat", "filter"]));
  const names = [...jumps.map(({ rule }) => rule), ...[...chains.filter.values()].flat()].flatMap(
    (rule) => /--name (\S+)/.exec(rule)?.[1] ?? [],
  );
  expect(names.every((name) => name.startsWith("FLV-4-BESIDE-"))).toBe(true);
});

test("a kind that lets everything pass is not written to", async () => {
  const { host, beside } = await aHost(EMPTY);
  beside.hold(rules);
  expect(await beside.verify(signal)).toEqual([]);
  expect(host.restored).toEqual([]);
});

test("one that drops has ours for as long as it does, and again when somebody took them away", async () => {
  const { host, beside, lists, procNet } = await aHost(EMPTY);
  beside.hold(rules);
  await beside.verify(signal);
  host.saved = DROPPING; // somebody came later
  await beside.verify(signal);
  expect(host.restored).toHaveLength(1);
  expect(host.restored[0]).toMatch(/^-I FORWARD \d+ .* -j FLV-ANSWERS$/m);
  expect(host.restored[0]).toMatch(/^-I PREROUTING 1 .* -j FLV-KEEP-PLACES$/m);
  expect(host.restored[0]).not.toContain("*mangle");
  await beside.verify(signal);
  expect(host.restored).toHaveLength(1);

  for (const list of (await lists()).filter((name) => name.includes("FORWARD"))) await rm(join(procNet, "xt_recent", list));
  expect(await beside.verify(signal)).toEqual(["iptables-nft: our rules"]);
  await beside.verify(signal);
  expect(host.restored).toHaveLength(2);

  host.saved = EMPTY.replace("COMMIT", ":FLV-INPUT - [0:0]\n-A INPUT -j FLV-INPUT\nCOMMIT");
  await beside.verify(signal);
  expect(host.restored[2]).toContain("-D INPUT -j FLV-INPUT\n-X FLV-INPUT\n");
  await beside.verify(signal);
  expect(host.restored).toHaveLength(3);
});

test("what an agent before this one has left in the other kind is taken out", async () => {
  const { host, beside } = await aHost(`*mangle\n:INPUT ACCEPT [0:0]\n:FLV-PLACES - [0:0]\n-A INPUT -j FLV-PLACES\nCOMMIT\n${EMPTY}`);
  beside.hold(rules);
  await beside.verify(signal);
  expect(host.restored).toEqual(["*mangle\n:FLV-PLACES - [0:0]\n-D INPUT -j FLV-PLACES\n-X FLV-PLACES\nCOMMIT\n"]);
});

test("a kind that does not work on this host is told of once, and is no fault", async () => {
  const { host, beside } = await aHost(EMPTY);
  host.isBroken = true;
  beside.hold(rules);
  for (let i = 0; i < 2; i++) expect(await beside.verify(signal)).toEqual([]);
  expect(host.told).toEqual(["the other kind of iptables cannot be looked at"]);
});
