import { execa } from "execa";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { Registry } from "prom-client";
import { expect, onTestFinished, test } from "vitest";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { createDnsMembers, type DnsMembers, type DnsMembersOptions } from "#agent/dns/members.ts";
import { registerDnsMetrics } from "#agent/probes/dns-metrics.ts";
import type { ListenAddress } from "#agent/dns/listen.ts";
import { freePort } from "#test/free-port.ts";
import { waitFor } from "#test/wait-for.ts";

// The responder in threads of its own, as the agent runs it.

const Z = "cluster.local";
const nameOf = (i: number | string): string => `s${i}.default.svc.${Z}`;
const service = (i: number | string, address: string): DnsChange => ({
  source: `service default/s${i}`,
  records: [{ name: nameOf(i), type: "A", address }],
  names: [],
});

interface Running {
  readonly members: DnsMembers;
  readonly at: ListenAddress;
  stop(): Promise<void>;
}

/** `state` is what the agent holds, and what a member that begins is told. */
async function start(state: Map<string, DnsChange>, options: Partial<DnsMembersOptions> = {}): Promise<Running> {
  const members = createDnsMembers({
    members: 1,
    everything: () => state.values(),
    listen: [{ address: "127.0.0.1", port: await freePort() }],
    domain: Z,
    serviceCidrs: ["10.96.0.0/16"],
    dnsIps: ["10.96.0.10"],
    allowedSources: [],
    upstreams: [],
    measuresStalls: true,
    log: pino({ level: "silent" }),
    ...options,
  });
  if (state.size > 0) members.apply([], { revision: 1, synced: true, all: true });
  const stopping = new AbortController();
  const running = members.run(stopping.signal);
  const stop = async (): Promise<void> => {
    stopping.abort();
    await running;
  };
  onTestFinished(stop);
  const [at] = await members.listening();
  if (!at) throw new Error("not bound");
  return { members, at, stop };
}

async function ask(at: ListenAddress, name: string): Promise<string> {
  const { stdout } = await execa("dig", [`@${at.address}`, "-p", `${at.port}`, "+tries=1", "+time=3", name], { reject: false });
  return /status: NOERROR/.test(stdout) ? (/\sA\s+(\S+)$/m.exec(stdout)?.[1] ?? "NODATA") : (/status: (\w+)/.exec(stdout)?.[1] ?? "silent");
}

test("changes reach the names, and a member that ends is started again with all of them", async () => {
  const state = new Map([["web", service("web", "10.96.0.7")]]);
  const { members, at } = await start(state);
  await waitFor(async () => (await ask(at, nameOf("web"))) === "10.96.0.7", { what: "the name" });
  expect(await ask(at, nameOf("api"))).toBe("NXDOMAIN");
  const api = service("api", "10.96.0.8");
  state.set("api", api);
  members.apply([api], { revision: 2, synced: true, all: false });
  await waitFor(async () => (await ask(at, nameOf("api"))) === "10.96.0.8", { what: "the changed name" });

  const fault = { source: "a fault of ours", records: [null], names: [] } as unknown as DnsChange;
  members.apply([fault], { revision: 3, synced: true, all: false });
  await waitFor(() => members.stats().restarts === 1, { what: "the member to end" });
  expect(members.problems().join()).toContain("is started again");
  await waitFor(async () => (await ask(at, nameOf("api"))) === "10.96.0.8", { what: "the names to be there again", timeoutMs: 10_000 });
  expect(await ask(at, nameOf("web"))).toBe("10.96.0.7");
  await waitFor(() => members.stats().revision === 3 && members.stats().running === 1, { what: "the report of the new member" });
});

test("a member that hangs is ended and started again", async () => {
  const state = new Map([["web", service("web", "10.96.0.7")]]);
  const program = new URL("../dns/hanging-member.ts", import.meta.url);
  const { members, at } = await start(state, { program, stuckMs: 3000, measuresStalls: false });
  expect(await ask(at, nameOf("web"))).toBe("10.96.0.7");
  members.allowSources(["192.0.2.66/32"]);
  await waitFor(() => members.stats().restarts === 1, { what: "the member to be ended", timeoutMs: 20_000 });
  expect(members.problems().join()).toContain("the DNS responder ended (it did not answer for 3 s), and is started again");
  await waitFor(async () => (await ask(at, nameOf("web"))) === "10.96.0.7", { what: "the name to be there again", timeoutMs: 10_000 });
  expect(members.stats().restarts).toBe(1);
});

test("before the agent knows its state, what was saved is answered, and who asks for a name that is missing there waits for the state", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fl-dns-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const image = { file: join(folder, "dns-zone"), node: "h1" };
  const state = new Map([
    ["web", service("web", "10.96.0.7")],
    ["old", service("old", "10.96.0.8")],
  ]);
  const before = await start(state, { image, members: 2 });
  await waitFor(() => before.members.stats().revision === 1, { what: "the names" });
  await before.stop();

  const next = new Map<string, DnsChange>(); // nothing is known yet
  const { members, at, stop } = await start(next, { image: { ...image, patienceMs: 30_000 }, members: 2 }); // the machine may be busy
  for (let i = 0; i < 10; i++) await waitFor(async () => (await ask(at, nameOf("web"))) === "10.96.0.7", { what: "what was saved" }); // from either
  expect(await ask(at, nameOf("old"))).toBe("10.96.0.8");
  const waits = ask(at, nameOf("new"));
  await waitFor(() => members.stats().queries >= 12, { what: "the question" });
  next.set("web", service("web", "10.96.0.9"));
  next.set("new", service("new", "10.96.0.10"));
  members.apply([], { revision: 2, synced: true, all: true });
  await waitFor(() => members.stats().revision === 2, { what: "the state" });
  expect(await waits).toBe("10.96.0.10");
  expect(await ask(at, nameOf("web"))).toBe("10.96.0.9");
  expect(await ask(at, nameOf("old"))).toBe("NXDOMAIN");
  await stop();

  const other = await start(new Map(), { image: { ...image, node: "h2" } });
  expect(await ask(other.at, nameOf("web"))).toBe("SERVFAIL"); // after a while: nobody tells it anything
});

test("what is not known whole is not saved", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fl-dns-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const state = new Map([["web", service("web", "10.96.0.7")]]);
  const unending = function* () {
    for (let i = 0; ; i++) yield service(i, "10.96.0.8");
  };
  const { at, stop } = await start(state, { image: { file: join(folder, "dns-zone"), node: "h1" }, everything: unending });
  await waitFor(async () => (await ask(at, nameOf(0))) === "10.96.0.8", { what: "the first of them" });
  await stop();
  expect(await readdir(folder)).toEqual([]);
});

test("members that share an address all know all names, and a stop ends them", async () => {
  const state = new Map([["web", service("web", "10.96.0.7")]]);
  const { members, at, stop } = await start(state, { members: 2 });
  await waitFor(() => members.stats().running === 2, { what: "both to be told" });
  for (let i = 0; i < 20; i++) expect(await ask(at, nameOf("web"))).toBe("10.96.0.7"); // from another port each time
  await stop();
  expect(await ask(at, nameOf("web"))).toBe("silent");
});

test("health is what we answer ourselves, and metrics say what was asked", async () => {
  const state = new Map([["web", service("web", "10.96.0.7")]]);
  const { members, at, stop } = await start(state);
  await waitFor(() => members.stats().selfQueryMs !== undefined, { what: "an answer to ourselves" });
  expect(members.health()).toEqual({ fault: undefined, detail: `answers at 127.0.0.1:${at.port}` });
  await ask(at, nameOf("web"));
  await ask(at, nameOf("none"));
  await ask(at, "www.example.com");
  const registry = new Registry();
  registerDnsMetrics(registry, { stats: () => members.stats(), stateAgeMs: () => 1500 });
  // The last that was asked: a report may come between two questions.
  await waitFor(async () => (await registry.metrics()).includes('zone="other",type="A",rcode="SERVFAIL"} 1'), { what: "the report" });
  const text = await registry.metrics();
  expect(text).toMatch(/fairlead_dns_queries_total\{zone="cluster",type="TXT",rcode="NOERROR"\} [1-9]/); // our own
  for (const line of [
    'fairlead_dns_queries_total{zone="cluster",type="A",rcode="NOERROR"} 1',
    'fairlead_dns_queries_total{zone="cluster",type="A",rcode="NXDOMAIN"} 1',
    "fairlead_dns_members 1",
    "fairlead_dns_restarts_total 0",
    "fairlead_dns_state_age_seconds 1.5",
  ])
    expect(text).toContain(line);
  await stop();
  expect(members.health().fault).toBe("no address is bound");
});

const RECORDS = 50_000;

test("50,000 records that arrive at once hold no answer up, nor do they when they go", async () => {
  const state = new Map<string, DnsChange>();
  const { members, at } = await start(state);
  const addressOf = (i: number): string => `10.96.${i >> 8}.${i & 255}`;
  for (let i = 0; i < RECORDS; i++) state.set(`${i}`, service(i, addressOf(i)));
  members.apply([], { revision: 2, synced: true, all: true });
  await waitFor(() => members.stats().revision === 2, { what: "all records", timeoutMs: 20_000 });
  expect(await ask(at, nameOf(RECORDS - 1))).toBe(addressOf(RECORDS - 1));

  state.clear();
  const many = Array.from(
    { length: RECORDS },
    (_, i) => ({ name: nameOf("many"), type: "A", address: `10.1.${i >> 8}.${i & 255}` }) as const,
  );
  state.set("many", { source: "service default/many", records: many, names: [] });
  members.apply([], { revision: 3, synced: true, all: true });
  await waitFor(() => members.stats().revision === 3, { what: "one name with all of them", timeoutMs: 20_000 });
  expect(await ask(at, nameOf(1))).toBe("NXDOMAIN");
  expect(await ask(at, nameOf("many"))).toMatch(/^10\.1\./); // cut, and then all that fits over TCP
  await waitFor(() => members.stats().answers.some(({ type, count }) => type === "A" && count >= 3), { what: "the report" });
  expect(members.takeStallMs()).toBeLessThan(20);
});
