import { expect, test } from "vitest";
import type { ForwardingTable, Frontend } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { openFlowCleaner } from "./conntrack.ts";
import type { KernelTools } from "./exec.ts";

const flow = (client: string, answeredBy: string, to = "10.96.0.10", port = 53): string =>
  `udp      17 28 src=${client} dst=${to} sport=40000 dport=${port} src=${answeredBy} dst=${client} sport=5353 dport=40000 mark=0 use=1`;
const dns = (backends: readonly string[], more: Partial<Frontend> = {}): Frontend =>
  aFrontend({ id: "default/dns", protocol: "UDP", port: 53, backends: backends.map((address) => aBackend(address, 5353)), ...more });

const tableOf = (...frontends: readonly Frontend[]): ForwardingTable => aTable([aCompiled(frontends)]);

/** Tools that answer a listing and remember what they were asked. */
function toolsWith(listing: string, { installed = true, family = "IPv4" }: { installed?: boolean; family?: IpFamily } = {}) {
  const ran: string[] = [];
  const warnings: string[] = [];
  const tools: KernelTools = {
    has: async () => installed,
    read: async () => undefined,
    run: async (file, args, { input } = {}) => {
      ran.push([file, ...args].join(" "), ...(input ?? "").split("\n").filter((line) => line !== ""));
      return { stdout: file === "ip" ? JSON.stringify([{ addr_info: [{ local: "172.30.0.1" }] }]) : listing, stderr: "", exitCode: 0 };
    },
  };
  const log = { info: () => undefined, warn: (_: object, message: string) => warnings.push(message), error: () => undefined };
  return { ran, warnings, flows: openFlowCleaner({ family, tools, log }) };
}
const signal = new AbortController().signal;

test("only the changed UDP frontend is asked about, and only its stale flows are deleted", async () => {
  const { ran, flows } = toolsWith([flow("10.1.1.1", "10.2.0.1"), flow("10.1.1.3", "10.2.0.2")].join("\n"));
  await flows.afterChange([{ previous: dns(["10.2.0.1"]), next: dns(["10.2.0.2"]) }], signal);
  expect(ran).toEqual([
    "conntrack -L -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53",
    "conntrack -D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 10.2.0.1 --reply-port-src 5353",
  ]);
});

test("several stale kinds of flows take one listing and one run", async () => {
  const { ran, flows } = toolsWith([flow("10.1.1.1", "10.2.0.1"), flow("10.1.1.2", "10.2.0.3"), flow("10.1.1.2", "10.2.0.2"), flow("10.1.1.3", "10.2.0.9", "10.96.0.11")].join("\n")); // prettier-ignore
  const other = (backends: string[]): Frontend => dns(backends, { address: "10.96.0.11" });
  const changes = [
    { previous: dns(["10.2.0.1", "10.2.0.3"]), next: dns(["10.2.0.2"]) },
    { previous: other(["10.2.0.9"]), next: undefined },
  ];
  expect(await flows.afterChange(changes, signal)).toBe(3);
  const deletion = (to: string, by: string) =>
    `-D -f ipv4 -p udp --orig-dst ${to} --orig-port-dst 53 --reply-src ${by} --reply-port-src 5353`;
  expect(ran).toEqual([
    "conntrack -L -f ipv4 -p udp",
    "conntrack -R -",
    deletion("10.96.0.10", "10.2.0.1"),
    deletion("10.96.0.10", "10.2.0.3"),
    deletion("10.96.0.11", "10.2.0.9"),
  ]);
});

test("a tool that takes no commands from a file is asked one by one, a hundred times at most", async () => {
  const endpoints = Array.from({ length: 150 }, (_, i) => `10.2.0.${i + 1}`);
  const listing = [...endpoints, "10.2.1.1"].map((ip) => flow("10.1.1.1", ip)).join("\n");
  let deletions = 0;
  const warned: object[] = [];
  const run: KernelTools["run"] = async (_file, [command]) => {
    if (command === "-R") throw new Error("unknown option");
    if (command === "-D") deletions++;
    return { stdout: listing, stderr: "", exitCode: 0 };
  };
  const log = { info: () => undefined, warn: (fields: object) => warned.push(fields), error: () => undefined };
  const flows = openFlowCleaner({ family: "IPv4", tools: { has: async () => true, read: async () => undefined, run }, log });
  await flows.afterChange([{ previous: dns(endpoints), next: dns(["10.2.1.1"]) }], signal);
  expect(deletions).toBe(100);
  expect(warned).toEqual([{ kindsOfFlows: 50 }]);
});

/** conntrack whose answers a test changes, and a clock. */
function aHost(problems: (string | undefined)[] = []) {
  const host = { clock: 1000, listing: "", fails: false, ran: [] as string[] };
  const run: KernelTools["run"] = async (_file, args, options) => {
    options?.signal?.throwIfAborted();
    host.ran.push(args.join(" "));
    if (host.fails) throw new Error("conntrack: Operation failed: too many flows");
    return { stdout: host.listing, stderr: "", exitCode: 0 };
  };
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const tools = { has: async () => true, read: async () => undefined, run };
  const flows = openFlowCleaner({ family: "IPv4", tools, log, now: () => host.clock, onProblem: (problem) => problems.push(problem) });
  return { host, flows };
}

test("what could not be forgotten is a problem, and is tried again by what is wanted then, ever less often, until it is done", async () => {
  const problems: (string | undefined)[] = [];
  const { host, flows } = aHost(problems);
  await flows.afterSync(tableOf(dns(["10.2.0.1"])), signal);
  host.fails = true;
  host.ran = [];
  host.listing = [flow("10.1.1.1", "10.2.0.1"), flow("10.1.1.2", "10.2.0.2"), flow("10.1.1.3", "10.2.0.3")].join("\n");
  await flows.afterChange([{ previous: dns(["10.2.0.1"]), next: dns(["10.2.0.2"]) }], signal);
  await flows.afterChange([{ previous: dns(["10.2.0.2"]), next: dns(["10.2.0.2", "10.2.0.3"]) }], signal); // nothing went
  expect(problems).toEqual([expect.stringContaining("could not forget")]);
  expect(host.ran).toHaveLength(1);
  const tried: number[] = [];
  for (const passMs of [999, 1, 1999, 1, 3999, 1]) {
    host.clock += passMs;
    await flows.retry(signal);
    tried.push(host.ran.length);
  }
  expect(tried).toEqual([1, 2, 2, 3, 3, 4]);
  host.fails = false;
  host.clock += 30_000;
  host.ran = [];
  await flows.retry(signal);
  expect(host.ran).toEqual([
    "-L -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53",
    "-D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 10.2.0.1 --reply-port-src 5353",
  ]);
  expect(problems.slice(1)).toEqual([undefined]);
  await flows.retry(signal);
  expect(host.ran).toHaveLength(2);
});

test("kinds of flows beyond what one round takes are forgotten in the next", async () => {
  const { host, flows } = aHost();
  const endpoints = Array.from({ length: 1500 }, (_, i) => `10.2.${Math.trunc(i / 250)}.${(i % 250) + 1}`);
  host.listing = [...endpoints, "10.3.0.1"].map((ip) => flow("10.1.1.1", ip)).join("\n");
  await flows.afterChange([{ previous: dns(endpoints), next: dns(["10.3.0.1"]) }], signal);
  host.listing = [...endpoints.slice(1000), "10.3.0.1"].map((ip) => flow("10.1.1.1", ip)).join("\n");
  host.ran = [];
  host.clock += 1000;
  await flows.retry(signal);
  expect(host.ran).toEqual(["-L -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53", "-R -"]);
  host.clock += 60_000;
  await flows.retry(signal);
  expect(host.ran).toHaveLength(2);
});

test("a retry that is called off is owed still, and so is the flow of a place that is gone", async () => {
  const { host, flows } = aHost();
  host.listing = flow("10.1.1.1", "10.2.0.1");
  host.fails = true;
  await flows.afterChange([{ previous: dns(["10.2.0.1"]), next: undefined }], signal);
  host.clock += 1000;
  await expect(flows.retry(AbortSignal.abort("something came"))).rejects.toBe("something came");
  host.fails = false;
  host.ran = [];
  await flows.retry(signal);
  expect(host.ran.at(-1)).toContain("-D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53");
});

test("a node port is asked about by its number, and only at addresses of the host", async () => {
  const listing = [flow("10.1.1.1", "10.2.0.1", "172.30.0.1", 30053), flow("10.1.1.1", "10.2.0.1", "192.0.2.99", 30053)];
  const { ran, flows } = toolsWith(listing.join("\n"));
  const nodePort = { scope: "nodePort", address: "", port: 30053 } as const;
  await flows.afterChange([{ previous: dns(["10.2.0.1"], nodePort), next: dns(["10.2.0.2"], nodePort) }], signal);
  expect(ran).toEqual([
    "ip -j -4 address",
    "conntrack -L -f ipv4 -p udp --orig-port-dst 30053",
    "conntrack -D -f ipv4 -p udp --orig-dst 172.30.0.1 --orig-port-dst 30053 --reply-src 10.2.0.1 --reply-port-src 5353",
  ]);
});

test("each family has a cleaner that leaves the other alone", async () => {
  const six: Partial<Frontend> = { family: "IPv6", address: "fd10::10" };
  const four = toolsWith("");
  await four.flows.afterChange([{ previous: dns(["fd30::1"], six), next: undefined }], signal);
  expect(four.ran).toEqual([]);
  const { ran, flows } = toolsWith("", { family: "IPv6" });
  await flows.afterChange(
    [
      { previous: dns(["fd30::1"], six), next: undefined },
      { previous: dns(["10.2.0.1"]), next: undefined },
    ],
    signal,
  );
  expect(ran).toEqual(["conntrack -L -f ipv6 -p udp --orig-dst fd10::10 --orig-port-dst 53"]);
});

test("after a start every frontend is looked at, also one without endpoints; later also those that are gone meanwhile", async () => {
  const lb = { scope: "loadBalancer", address: "192.0.2.1" } as const;
  const other = { ...lb, address: "192.0.2.2" };
  const { ran, flows } = toolsWith([flow("10.1.1.1", "10.2.0.1", lb.address), flow("10.1.1.2", "10.2.0.2", other.address)].join("\n"));
  const deletion = "-D -f ipv4 -p udp --orig-dst 192.0.2.1 --orig-port-dst 53 --reply-src 10.2.0.1 --reply-port-src 5353";
  for (const table of [tableOf(dns([], lb)), tableOf(dns(["10.2.0.2"], other))]) {
    await flows.afterSync(table, signal);
    expect(ran.splice(0)).toEqual(["conntrack -L -f ipv4 -p udp", `conntrack ${deletion}`]);
  }
});

test("after a start flows of services that went while no agent ran are forgotten, in the service ranges of the family", async () => {
  const untranslated = flow("10.1.1.4", "10.96.0.13", "10.96.0.13").replace("sport=5353", "sport=53");
  const listing = [
    flow("10.1.1.1", "10.2.0.1"),
    flow("10.1.1.2", "10.2.0.2", "10.96.0.11", 5000),
    flow("10.1.1.3", "10.2.0.3", "10.96.0.12"),
    untranslated,
    flow("10.1.1.5", "10.2.0.5", "192.0.2.1"),
  ];
  const { ran, flows } = toolsWith(listing.join("\n"));
  expect(await flows.afterSync(tableOf(dns(["10.2.0.3"], { address: "10.96.0.12" })), signal)).toBe(2);
  const deletion = (to: string, port: number, by: string) =>
    `-D -f ipv4 -p udp --orig-dst ${to} --orig-port-dst ${port} --reply-src ${by} --reply-port-src 5353`;
  const all = [deletion("10.96.0.10", 53, "10.2.0.1"), deletion("10.96.0.11", 5000, "10.2.0.2")];
  expect(ran).toEqual(["conntrack -L -f ipv4 -p udp", "conntrack -R -", ...all]);
  const six = toolsWith(flow("fd00::9", "fd20::2", "fd10::10"), { family: "IPv6" });
  expect(await six.flows.afterSync(aTable([], aHostTable({ serviceCidrs: ["10.96.0.0/16", "fd10::/112"] })), signal)).toBe(1);
});

test("a range that could not be looked at is tried again, and its frontends of then are none of it", async () => {
  const { host, flows } = aHost();
  host.listing = [flow("10.1.1.1", "10.2.0.1"), flow("10.1.1.2", "10.2.0.2", "10.96.0.11")].join("\n");
  host.fails = true;
  await flows.afterSync(tableOf(), signal);
  host.fails = false;
  await flows.afterChange([{ previous: undefined, next: dns([], { address: "10.96.0.11" }) }], signal);
  host.clock += 1000;
  host.ran = [];
  await flows.retry(signal);
  await flows.retry(signal);
  const deletion = "-D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 10.2.0.1 --reply-port-src 5353";
  expect(host.ran).toEqual(["-L -f ipv4 -p udp", deletion]);
});

test.for([
  { name: "TCP", previous: dns(["10.2.0.1"], { protocol: "TCP" }), next: dns([], { protocol: "TCP" }) },
  { name: "one more endpoint", previous: dns(["10.2.0.1"]), next: dns(["10.2.0.1", "10.2.0.2"]) },
  {
    name: "an endpoint that takes no new flows but serves",
    previous: dns(["10.2.0.1", "10.2.0.2"]),
    next: dns(["10.2.0.2"], { draining: [{ address: "10.2.0.1", port: 5353 }] }),
  },
  { name: "a service that begins without endpoints", previous: undefined, next: dns([]) },
])("$name starts no process", async ({ previous, next }) => {
  const { ran, flows } = toolsWith("");
  await flows.afterChange([{ previous, next }], signal);
  expect(ran).toEqual([]);
});

test("a host without the tool is warned once, and goes on", async () => {
  const { ran, warnings, flows } = toolsWith("", { installed: false });
  for (let i = 0; i < 2; i++) await flows.afterChange([{ previous: dns(["10.2.0.1"]), next: undefined }], signal);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain("conntrack is not installed");
  expect(ran).toEqual([]);
});

test("that the tool is missing is a problem of the host while there are UDP frontends, until it is installed", async () => {
  let isInstalled = false;
  const problems: (string | undefined)[] = [];
  const flows = openFlowCleaner({
    family: "IPv4",
    tools: {
      has: async () => isInstalled,
      read: async () => undefined,
      run: async () => ({ stdout: "", stderr: "", exitCode: 0 }),
    },
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    onProblem: (problem) => problems.push(problem),
    lookEveryMs: 1,
  });
  const end = new AbortController();
  await flows.afterSync(tableOf(dns(["10.2.0.1"], { protocol: "TCP" })), end.signal);
  expect(problems).toEqual([]);
  await flows.afterChange([{ previous: undefined, next: dns([]) }], end.signal);
  expect(problems).toEqual([expect.stringContaining("apt-get install conntrack")]);
  await flows.afterChange([{ previous: dns([]), next: undefined }], end.signal);
  expect(problems.at(-1)).toBeUndefined();
  await flows.afterSync(tableOf(dns(["10.2.0.1"])), end.signal);
  expect(problems).toHaveLength(3);
  isInstalled = true;
  await waitFor(() => problems.length === 4, { what: "the problem to end" });
  expect(problems.at(-1)).toBeUndefined();
  end.abort();
});
