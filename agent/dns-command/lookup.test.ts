import { expect, test } from "vitest";
import type { Explanation } from "#agent/explain/explanation.ts";
import { renderLookup, type Lookup } from "./lookup.ts";

const explained = (name: string, more: Partial<Explanation>): Lookup => ({
  name,
  type: "A",
  node: "h1",
  server: "10.96.0.10",
  asked: { ok: true, ms: 1, answer: { rcode: "NXDOMAIN", authoritative: false, truncated: false, records: [] } },
  why: {
    node: "h1",
    stateAgeMs: 0,
    upstreams: ["192.0.2.53"],
    stubs: [],
    explanation: { name, zone: undefined, revision: 7, objects: [], records: [], ...more },
  },
  asPrograms: undefined,
});

test.for([
  ["one that stays inside", { servers: [], isKeptInside: true }, /why: not a name of the fleet, .*asked of nobody outside/],
  [
    "one of the upstreams",
    { servers: ["192.0.2.53", "192.0.2.54:5353"], isKeptInside: false },
    /fleet, asked of 192\.0\.2\.53, 192\.0\.2\.54:5353 /,
  ],
  [
    "one of a stub domain",
    { stub: "x.test", servers: ["10.0.0.1"], isKeptInside: false },
    /fleet, asked of 10\.0\.0\.1, as the stub domain x\.test says/,
  ],
  ["one that nobody is known for", { servers: [], isKeptInside: false }, /asked of nobody: no upstream is known/],
] as const)("lookup says who is asked for a name: %s", ([, asked, want]) => {
  const name = "www.x.test";
  expect(renderLookup(explained(name, { asked: { name, ...asked, servers: [...asked.servers] } }), { trace: false })).toMatch(want);
});

test("an agent that does not say who is asked is one that asks its upstreams", () => {
  expect(renderLookup(explained("www.x.test", {}), { trace: false })).toMatch(/asked of 192\.0\.2\.53/);
});

test("of a name of ours that leads to another, lookup says who is asked for that one", () => {
  const asked = { name: "db.corp.example", stub: "corp.example", servers: ["10.0.0.1:5353"], isKeptInside: false };
  const text = renderLookup(explained("db.default.svc.cluster.local", { zone: "cluster.local", asked }), { trace: false });
  expect(text).toMatch(
    /it leads to db\.corp\.example, which is no name of the fleet, asked of 10\.0\.0\.1:5353, as the stub domain corp\.example says/,
  );
});
