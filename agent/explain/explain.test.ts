import { expect, test } from "vitest";
import { Namespace } from "#proto/namespace.ts";
import { Node } from "#proto/node.ts";
import { aService, aSlice, aState } from "#test/states.ts";
import { TYPE } from "#agent/dns/protocol.ts";
import { parseStubDomain } from "#agent/dns/stub-domains.ts";
import { answerExplain, type ExplainDeps } from "./answer.ts";
import { explainName } from "./explain.ts";
import { NodeAddresses } from "./node-addresses.ts";
import { whoIsAsked } from "./who-is-asked.ts";
import { ExplainReply, nameToExplain } from "./explanation.ts";

const state = aState([aService()], [aSlice({ endpoints: [{ addresses: ["10.200.2.12"] }] })], {
  revision: 9,
  namespaces: new Map([["default", Namespace.parse({ apiVersion: "v1", kind: "Namespace", metadata: { name: "default" } })]]),
  nodes: new Map([
    [
      "h2",
      Node.parse({
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: "h2" },
        status: { addresses: [{ type: "InternalIP", address: "172.30.0.2" }] },
      }),
    ],
  ]),
});

const servers = {
  upstreams: [
    { address: "192.0.2.53", port: 53 },
    { address: "192.0.2.54", port: 5353 },
  ],
  stubs: ["20.172.in-addr.arpa=10.0.0.1:5353", "corp.example=10.0.0.2"].map(parseStubDomain),
};
const asked = whoIsAsked(servers, TYPE.A);

test.for([
  [
    "web.default.svc.cluster.local",
    ["Service default/web", "EndpointSlice default/web-1"],
    ["A 10.96.0.10", "SRV 0 100 80 web.default.svc.cluster.local"],
  ],
  [
    "_http._tcp.web.default.svc.cluster.local",
    ["Service default/web", "EndpointSlice default/web-1"],
    ["SRV 0 100 80 web.default.svc.cluster.local"],
  ],
  ["10-200-2-12.web.default.svc.cluster.local", ["Service default/web", "EndpointSlice default/web-1"], ["A 10.200.2.12"]],
  ["other.default.svc.cluster.local", ["Service default/other: not there"], []],
  ["web.nowhere.svc.cluster.local", ["Namespace nowhere: not there", "Service nowhere/web: not there"], []],
  ["default.svc.cluster.local", ["Namespace default"], []],
  ["ns.dns.cluster.local", ["fleet cluster.local"], ["A 10.96.0.2"]],
  ["h2.node.cluster.local", ["Node h2"], ["A 172.30.0.2"]],
  ["www.example.com", [], []],
  ["xcluster.local", [], []],
] as const)("what is behind %s", ([name, objects, records]) => {
  const found = explainName(state, name, asked);
  expect(found.objects.map(({ kind, name: object, exists }) => `${kind} ${object}${exists ? "" : ": not there"}`)).toEqual(objects);
  expect(found.records).toEqual(records);
  expect(found.revision).toBe(9);
});

const UPSTREAMS = "192.0.2.53, 192.0.2.54:5353";
test.for([
  ["an address of the service range that nobody has", "99.0.96.10.in-addr.arpa", "96.10.in-addr.arpa", undefined],
  ["a private address", "5.1.168.192.in-addr.arpa", undefined, "nobody"],
  ["a private address that a stub domain has", "4.3.20.172.in-addr.arpa", undefined, "10.0.0.1:5353 by 20.172.in-addr.arpa"],
  ["another's address", "8.8.8.8.in-addr.arpa", undefined, UPSTREAMS],
  ["one label", "web", undefined, "nobody"],
  ["multicast DNS", "printer.local", undefined, "nobody"],
  ["a name of the world", "www.example.com", undefined, UPSTREAMS],
  ["one of a stub domain", "www.corp.example", undefined, "10.0.0.2 by corp.example"],
  ["an ExternalName into the world", "out.default.svc.cluster.local", "cluster.local", `db.example.com: ${UPSTREAMS}`],
  [
    "one into a stub domain, by way of another",
    "twice.default.svc.cluster.local",
    "cluster.local",
    "db.corp.example: 10.0.0.2 by corp.example",
  ],
  ["one that leads to ours", "in.default.svc.cluster.local", "cluster.local", undefined],
  ["one that leads to itself", "loop.default.svc.cluster.local", "cluster.local", undefined],
  ["a Service", "web.default.svc.cluster.local", "cluster.local", undefined],
] as const)("who is asked: %s", ([, name, zone, who]) => {
  const aliases = Object.entries({
    out: "db.example.com",
    twice: "stub.default.svc.cluster.local",
    stub: "db.corp.example.",
    in: "web.default.svc.cluster.local",
    loop: "loop.default.svc.cluster.local",
  });
  const more = aliases.map(([alias, externalName]) => aService({ type: "ExternalName", externalName, clusterIP: undefined }, alias));
  const found = explainName({ ...state, ...aState([aService(), ...more], [], { namespaces: state.namespaces }) }, name, asked);
  expect(found.zone).toBe(zone);
  const said = found.asked && `${found.asked.servers.join(", ")}${found.asked.stub === undefined ? "" : ` by ${found.asked.stub}`}`;
  expect(
    found.asked?.isKeptInside === true ? "nobody" : found.asked?.name === name ? said : found.asked && `${found.asked.name}: ${said ?? ""}`,
  ).toBe(who);
});

test("a Service with thousands of endpoints is named, and its records are not worked out", () => {
  const slices = [1, 2, 3].map((part) =>
    aSlice({
      name: `web-${part}`,
      endpoints: Array.from({ length: 700 }, (_, i) => ({ addresses: [`10.${part}.${Math.floor(i / 250)}.${(i % 250) + 1}`] })),
    }),
  );
  const found = explainName(aState([aService()], slices), "web.default.svc.cluster.local", asked);
  expect(found.objects).toHaveLength(4);
  expect(found).toMatchObject({ records: [], note: "it has 2100 endpoints: records are not listed" });
});

test.for([
  ["WEB.Default.svc.cluster.local.", "web.default.svc.cluster.local"],
  ["a..b", undefined],
  ["", undefined],
  [`${"x".repeat(64)}.test`, undefined],
  [`${"x.".repeat(127)}xx`, undefined],
  ["a b", undefined],
  ["ä.test", undefined],
] as const)("a name to explain: %s", ([text, name]) => {
  expect(nameToExplain(text)).toBe(name);
});

const deps: ExplainDeps = {
  node: "h1",
  state,
  nodeAddresses: new NodeAddresses(state),
  stateAgeMs: () => 1500.4,
  upstreams: async () => servers.upstreams,
  stubs: servers.stubs,
};
const ask = (query: string, from = "127.0.0.1") => answerExplain(deps, new URLSearchParams(query), from);

test("this host and the fleet's nodes are answered, strangers and nonsense are not", async () => {
  const { status, body } = await ask("name=web.default.svc.cluster.local&node=h2");
  expect(status).toBe(200);
  expect(ExplainReply.parse(JSON.parse(body))).toMatchObject({
    node: "h1",
    stateAgeMs: 1500,
    upstreams: ["192.0.2.53", "192.0.2.54:5353"],
    stubs: [
      { suffix: "20.172.in-addr.arpa", servers: ["10.0.0.1:5353"] },
      { suffix: "corp.example", servers: ["10.0.0.2"] },
    ],
    nodeAddresses: ["172.30.0.2"],
  });
  expect((await ask("name=web.default.svc.cluster.local", "::ffff:172.30.0.2")).status).toBe(200);
  expect((await ask("name=web.default.svc.cluster.local", "203.0.113.9")).status).toBe(403);
  expect((await ask("")).status).toBe(400);
  expect((await ask(`name=${"x".repeat(100_000)}`)).status).toBe(400);
});
