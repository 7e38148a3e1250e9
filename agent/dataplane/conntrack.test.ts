import { expect, test } from "vitest";
import type { Frontend } from "#agent/compile/table.ts";
import { aBackend, aFrontend } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { openFlowCleaner, staleFlows } from "./conntrack.ts";
import type { KernelTools } from "./exec.ts";

const flow = (client: string, answeredBy: string, to = "10.96.0.10", port = 53): string =>
  `udp      17 28 src=${client} dst=${to} sport=40000 dport=${port} src=${answeredBy} dst=${client} sport=5353 dport=40000 mark=0 use=1`;
const untranslated =
  "udp      17 28 src=10.1.1.1 dst=10.96.0.10 sport=4 dport=53 [UNREPLIED] src=10.96.0.10 dst=10.1.1.1 sport=53 dport=4 mark=0 use=1";
const watched = (...mayAnswer: string[]) => [{ address: "10.96.0.10", port: 53, mayAnswer: new Set(mayAnswer.map((ip) => `${ip} 5353`)) }];

test("flows answered by somebody who may no more are stale, each kind once, and flows of others are not", () => {
  const listing = [flow("10.1.1.1", "10.2.0.1"), flow("10.1.1.2", "10.2.0.1"), flow("10.1.1.3", "10.2.0.2"), flow("10.1.1.4", "10.2.0.1", "10.96.0.11"), flow("10.1.1.5", "10.2.0.1", "10.96.0.10", 54), untranslated, "", "conntrack v1.4.7: 5 flow entries have been shown."]; // prettier-ignore
  expect(staleFlows(listing.join("\n"), watched("10.2.0.2"))).toEqual([
    { address: "10.96.0.10", port: 53, replyAddress: "10.2.0.1", replyPort: 5353 },
    { address: "10.96.0.10", port: 53, replyAddress: "10.96.0.10", replyPort: 53 },
  ]);
});

test("an address that went from one service to another at once keeps the flows of the new one", () => {
  expect(staleFlows(flow("10.1.1.1", "10.2.0.2"), [...watched("10.2.0.2"), ...watched()])).toEqual([]);
});

const dns = (backends: readonly string[], more: Partial<Frontend> = {}): Frontend =>
  aFrontend({ id: "default/dns", protocol: "UDP", port: 53, backends: backends.map((address) => aBackend(address, 5353)), ...more });

/** Tools that answer a listing and remember what they were asked. */
function toolsWith(listing: string, installed = true) {
  const ran: string[] = [];
  const warnings: string[] = [];
  const tools: KernelTools = {
    has: async () => installed,
    run: async (file, args) => {
      ran.push([file, ...args].join(" "));
      return { stdout: listing, stderr: "", exitCode: 0 };
    },
  };
  const log = { info: () => undefined, warn: (_: object, message: string) => warnings.push(message), error: () => undefined };
  return { ran, warnings, flows: openFlowCleaner({ tools, log }) };
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
  const { ran, warnings, flows } = toolsWith("", false);
  for (let i = 0; i < 2; i++) await flows.afterChange([{ previous: dns(["10.2.0.1"]), next: undefined }], signal);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain("conntrack is not installed");
  expect(ran).toEqual([]);
});

test("that the tool is missing is a problem of the host while there are UDP frontends, until it is installed", async () => {
  let isInstalled = false;
  const problems: (string | undefined)[] = [];
  const flows = openFlowCleaner({
    tools: { has: async () => isInstalled, run: async () => ({ stdout: "", stderr: "", exitCode: 0 }) },
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    onProblem: (problem) => problems.push(problem),
    lookEveryMs: 1,
  });
  const end = new AbortController();
  await flows.afterSync([dns(["10.2.0.1"], { protocol: "TCP" })], end.signal);
  expect(problems).toEqual([]);
  await flows.afterChange([{ previous: undefined, next: dns([]) }], end.signal);
  expect(problems).toEqual([expect.stringContaining("apt-get install conntrack")]);
  await flows.afterChange([{ previous: dns([]), next: undefined }], end.signal);
  expect(problems.at(-1)).toBeUndefined();
  await flows.afterSync([dns(["10.2.0.1"])], end.signal);
  expect(problems).toHaveLength(3);
  isInstalled = true;
  await waitFor(() => problems.length === 4, { what: "the problem to end" });
  expect(problems.at(-1)).toBeUndefined();
  end.abort();
});
