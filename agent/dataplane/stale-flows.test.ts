import { describe, expect, test } from "vitest";
import type { Frontend } from "#agent/compile/table.ts";
import { aBackend, aFrontend } from "#test/tables.ts";
import { staleFlows, watchedOf, type Watched } from "./stale-flows.ts";

const flow = (client: string, answeredBy: string, to = "10.96.0.10", port = 53): string =>
  `udp      17 28 src=${client} dst=${to} sport=40000 dport=${port} src=${answeredBy} dst=${client} sport=5353 dport=40000 mark=0 use=1`;
const untranslated = (to = "10.96.0.10", port = 53): string =>
  `udp      17 28 src=10.1.1.1 dst=${to} sport=4 dport=${port} [UNREPLIED] src=${to} dst=10.1.1.1 sport=${port} dport=4 mark=0 use=1`;
const watched = (mayAnswer: readonly string[], more: Partial<Watched> = {}): Watched => ({
  address: "10.96.0.10",
  port: 53,
  mayAnswer: new Set(mayAnswer.map((ip) => `${ip} 5353`)),
  isGone: false,
  ...more,
});
const around = { hostIps: new Set(["172.30.0.1", "172.17.0.1", "fd30::1"]), isFrontend: (_place: string) => false };
const stale = (lines: readonly string[], places: readonly Watched[], more: Partial<typeof around> = {}): string[] =>
  staleFlows(lines.join("\n"), places, { ...around, ...more }).map(
    ({ address, port, reply }) => `${address}:${port} ${reply?.address ?? "all"}`,
  );

describe("which flows are stale", () => {
  test("those answered by somebody who may no more, each kind once, and none of others", () => {
    const listing = [
      flow("10.1.1.1", "10.2.0.1"),
      flow("10.1.1.2", "10.2.0.1"),
      flow("10.1.1.3", "10.2.0.2"),
      flow("10.1.1.4", "10.2.0.1", "10.96.0.11"),
      flow("10.1.1.5", "10.2.0.1", "10.96.0.10", 54),
      untranslated(),
      "",
      "conntrack v1.4.7: 5 flow entries have been shown.",
    ];
    expect(stale(listing, [watched(["10.2.0.2"])])).toEqual(["10.96.0.10:53 10.2.0.1", "10.96.0.10:53 10.96.0.10"]);
  });

  test("where no flow to a place may stay, they are one kind; but a flow that stays keeps them apart", () => {
    const two = [flow("10.1.1.1", "10.2.0.1"), flow("10.1.1.2", "10.2.0.3"), flow("10.1.1.2", "10.2.0.9", "10.96.0.11")];
    expect(stale(two, [watched(["10.2.0.2"])])).toEqual(["10.96.0.10:53 all"]);
    expect(stale([...two, flow("10.1.1.3", "10.2.0.2")], [watched(["10.2.0.2"])])).toEqual([
      "10.96.0.10:53 10.2.0.1",
      "10.96.0.10:53 10.2.0.3",
    ]);
    expect(stale([...two, untranslated()], [watched([], { isGone: true })])).toHaveLength(2);
  });

  test("an address that went from one service to another at once keeps the flows of the new one", () => {
    expect(stale([flow("10.1.1.1", "10.2.0.2")], [watched(["10.2.0.2"]), watched([], { isGone: true })])).toEqual([]);
    expect(stale([flow("10.1.1.1", "10.2.0.2")], [watched([], { isGone: true }), watched(["10.2.0.2"])])).toEqual([]);
  });

  test("where a frontend is gone, what was not translated goes where it says, and stays", () => {
    const listing = [flow("10.1.1.1", "10.2.0.1", "192.0.2.1"), untranslated("192.0.2.1")];
    expect(stale(listing, [watched([], { address: "192.0.2.1", isGone: true })])).toEqual(["192.0.2.1:53 10.2.0.1"]);
  });

  test("a node port is at addresses of the host alone, and behind frontends of the same number", () => {
    const nodePort = watched(["10.2.0.2"], { address: "", port: 30053 });
    const to = (address: string) => flow("10.1.1.1", "10.2.0.1", address, 30053);
    expect(stale([to("172.30.0.1"), to("172.17.0.1"), to("8.8.8.8")], [nodePort])).toEqual([
      "172.30.0.1:30053 10.2.0.1",
      "172.17.0.1:30053 10.2.0.1",
    ]);
    const isFrontend = (place: string): boolean => place === "172.30.0.1 UDP 30053";
    expect(stale([to("172.30.0.1")], [nodePort], { isFrontend })).toEqual([]);
  });

  test("IPv6 addresses are compared by what they are, not by how they are written", () => {
    const line = flow("fd00::9", "fd20:0:0::2", "fd10:0::10");
    const place = { address: "fd10::10", mayAnswer: new Set(["fd20::2 5353"]) };
    expect(stale([line], [watched([], place)])).toEqual([]);
    expect(stale([line], [watched([], { address: "fd10::10" })])).toEqual(["fd10::10:53 fd20::2"]);
  });
});

const dns = (backends: readonly string[], more: Partial<Frontend> = {}): Frontend =>
  aFrontend({ protocol: "UDP", port: 53, backends: backends.map((ip) => aBackend(ip, 5353)), ...more });
const outside = (...ips: string[]) => ({
  outside: { backends: ips.map((ip) => aBackend(ip, 5353, { isLocal: true })), whenEmpty: "drop" as const },
});

describe("after which changes flows are looked at", () => {
  test.for([
    { name: "an endpoint went", previous: dns(["10.2.0.1", "10.2.0.2"]), next: dns(["10.2.0.2"]), want: ["10.2.0.2"] },
    { name: "one more came", previous: dns(["10.2.0.1"]), next: dns(["10.2.0.1", "10.2.0.2"]), want: undefined },
    { name: "the first came", previous: dns([]), next: dns(["10.2.0.1"]), want: ["10.2.0.1"] },
    { name: "the first came with the service", previous: undefined, next: dns(["10.2.0.1"]), want: ["10.2.0.1"] },
    { name: "the last went", previous: dns(["10.2.0.1"]), next: dns([]), want: [] },
    { name: "the service went", previous: dns(["10.2.0.1"]), next: undefined, want: [] },
    {
      name: "the first came for outsiders",
      previous: dns(["10.2.0.1"], outside()),
      next: dns(["10.2.0.1"], outside("10.200.1.11")),
      want: ["10.2.0.1", "10.200.1.11"],
    },
    {
      name: "one went for outsiders, and stays for this host",
      previous: dns(["10.200.1.11"], outside("10.200.1.11")),
      next: dns(["10.200.1.11"], outside()),
      want: undefined,
    },
    {
      name: "one went for outsiders, whom nobody else may answer",
      previous: dns(["10.2.0.1"], outside("10.200.1.11")),
      next: dns(["10.2.0.1"], outside()),
      want: ["10.2.0.1"],
    },
    {
      name: "an endpoint takes no new flows and serves",
      previous: dns(["10.2.0.1", "10.2.0.2"]),
      next: dns(["10.2.0.2"], { draining: [{ address: "10.2.0.1", port: 5353 }] }),
      want: undefined,
    },
  ])("$name", ({ previous, next, want }) => {
    const found = watchedOf({ previous, next }).map(({ mayAnswer }) => [...mayAnswer].map((target) => target.split(" ")[0]).toSorted());
    expect(found).toEqual(want ? [want] : []);
  });
});
