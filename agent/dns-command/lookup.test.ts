import { expect, test } from "vitest";
import { renderLookup, type Lookup } from "./lookup.ts";

const explained = (name: string): Lookup => ({
  name,
  type: "A",
  node: "h1",
  server: "10.96.0.10",
  asked: { ok: true, ms: 1, answer: { rcode: "NXDOMAIN", authoritative: false, truncated: false, records: [] } },
  why: {
    node: "h1",
    stateAgeMs: 0,
    upstreams: ["192.0.2.53"],
    explanation: { name, zone: undefined, revision: 7, objects: [], records: [], note: undefined },
  },
  asPrograms: undefined,
});

test.for([["web"], ["printer.local"], ["5.1.168.192.in-addr.arpa"]])("%s is asked of nobody outside, and lookup says so", ([name = ""]) => {
  expect(renderLookup(explained(name), { trace: false })).toMatch(/why: .*asked of nobody outside/);
});

test.for([["example.com"], ["localhost.example.com"], ["8.8.8.8.in-addr.arpa"]])("%s is asked of the upstreams", ([name = ""]) => {
  expect(renderLookup(explained(name), { trace: false })).toMatch(/asked of 192\.0\.2\.53/);
});
