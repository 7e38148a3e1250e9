import { expect, test } from "vitest";
import { Namespace } from "#proto/namespace.ts";
import { Node } from "#proto/node.ts";
import { aService, aSlice, aState } from "#test/states.ts";
import { answerExplain, type ExplainDeps } from "./answer.ts";
import { explainName } from "./explain.ts";
import { NodeAddresses } from "./node-addresses.ts";
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
  const found = explainName(state, name);
  expect(found.objects.map(({ kind, name: object, exists }) => `${kind} ${object}${exists ? "" : ": not there"}`)).toEqual(objects);
  expect(found.records).toEqual(records);
  expect(found.revision).toBe(9);
});

test("a Service with thousands of endpoints is named, and its records are not worked out", () => {
  const slices = [1, 2, 3].map((part) =>
    aSlice({
      name: `web-${part}`,
      endpoints: Array.from({ length: 700 }, (_, i) => ({ addresses: [`10.${part}.${Math.floor(i / 250)}.${(i % 250) + 1}`] })),
    }),
  );
  const found = explainName(aState([aService()], slices), "web.default.svc.cluster.local");
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
  upstreams: async () => ["192.0.2.53"],
};
const ask = (query: string, from = "127.0.0.1") => answerExplain(deps, new URLSearchParams(query), from);

test("this host and the fleet's nodes are answered, strangers and nonsense are not", async () => {
  const { status, body } = await ask("name=web.default.svc.cluster.local&node=h2");
  expect(status).toBe(200);
  expect(ExplainReply.parse(JSON.parse(body))).toMatchObject({
    node: "h1",
    stateAgeMs: 1500,
    upstreams: ["192.0.2.53"],
    nodeAddresses: ["172.30.0.2"],
  });
  expect((await ask("name=web.default.svc.cluster.local", "::ffff:172.30.0.2")).status).toBe(200);
  expect((await ask("name=web.default.svc.cluster.local", "203.0.113.9")).status).toBe(403);
  expect((await ask("")).status).toBe(400);
  expect((await ask(`name=${"x".repeat(100_000)}`)).status).toBe(400);
});
