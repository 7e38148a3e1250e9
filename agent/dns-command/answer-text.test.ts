import { Packet } from "dns2";
import { expect, test } from "vitest";
import { parseAnswer } from "./answer-text.ts";
import { renderLookup, exitCodeOf, type Lookup } from "./lookup.ts";
import { renderStatus, type ResolverStatus } from "./status.ts";

const name = "web.default.svc.cluster.local";

function message(answers: readonly object[], { rcode = 0, aa = 1, id = 7 } = {}): Buffer {
  const packet = new Packet();
  Object.assign(packet.header, { id, qr: 1, aa, rcode });
  Object.assign(packet, {
    questions: [{ name, type: Packet.TYPE.A, class: Packet.CLASS.IN }],
    answers: answers.map((answer) => ({ name, class: Packet.CLASS.IN, ttl: 5, ...answer })),
  });
  return packet.toBuffer();
}

test("records of each kind in words", () => {
  const answers = [
    { type: Packet.TYPE.A, address: "10.96.0.7" },
    { type: Packet.TYPE.AAAA, address: "fd00::7" },
    { type: Packet.TYPE.CNAME, domain: "www.example.com" },
    { type: Packet.TYPE.SRV, priority: 0, weight: 100, port: 80, target: name },
    { type: Packet.TYPE.TXT, data: "1.1.0" },
  ];
  const answer = parseAnswer(message(answers), { id: 7, name });
  expect(answer).toMatchObject({ rcode: "NOERROR", authoritative: true, truncated: false });
  expect(answer?.records.map(({ type, data }) => `${type} ${data}`)).toEqual([
    "A 10.96.0.7",
    "AAAA fd00::7",
    "CNAME www.example.com",
    `SRV 0 100 80 ${name}`,
    'TXT "1.1.0"',
  ]);
});

test("another's answer is none: other id, other question, a question, a cut message", () => {
  const good = message([{ type: Packet.TYPE.A, address: "10.96.0.7" }]);
  expect(parseAnswer(good, { id: 8, name })).toBeUndefined();
  expect(parseAnswer(good, { id: 7, name: "evil.test" })).toBeUndefined();
  expect(parseAnswer(good.subarray(0, 11), { id: 7, name })).toBeUndefined();
  expect(parseAnswer(good.subarray(0, good.length - 2), { id: 7, name })?.records).toEqual([]);
});

const found: Lookup = {
  name,
  type: "A",
  node: "h1",
  server: "10.96.0.10",
  asked: {
    ok: true,
    ms: 0.4,
    answer: { rcode: "NOERROR", authoritative: true, truncated: false, records: [{ name, type: "A", ttl: 5, data: "10.96.0.7" }] },
  },
  why: {
    node: "h1",
    stateAgeMs: 61_000,
    upstreams: [],
    stubs: [],
    explanation: {
      name,
      zone: "cluster.local",
      revision: 12,
      objects: [{ kind: "Service", name: "default/web", exists: true, revision: 9 }],
      records: ["A 10.96.0.7"],
    },
  },
  asPrograms: { by: `getent ahosts ${name}`, answers: ["10.96.0.7"] },
};

test("a lookup says the answer, the object behind it with its revision, how old that is, and what programs get", () => {
  expect(renderLookup(found, { trace: false })).toBe(`${name} A, on h1
10.96.0.10 says: NOERROR, authoritative, 0.4 ms
  ${name} 5 A 10.96.0.7

why: a name of cluster.local; this host knows revision 12, as it was 61 s ago: the server is not heard since
  Service default/web, revision 9

programs of this host (getent ahosts ${name}): 10.96.0.7
`);
  expect(renderLookup(found, { trace: true })).toContain(`records that follow from them, of ${name}:\n  A 10.96.0.7\n`);
});

test.for([
  ["records", found, 0],
  [
    "no such name",
    { ...found, asked: { ok: true, ms: 1, answer: { rcode: "NXDOMAIN", authoritative: true, truncated: false, records: [] } } },
    3,
  ],
  ["nobody answers", { ...found, asked: { ok: false, why: "no answer within 2 s" } }, 7],
  ["another node's agent, which says what it knows", { ...found, asked: undefined, server: undefined }, 0],
  ["another node's agent, which does not let us ask", { ...found, asked: undefined, server: undefined, why: "refused" }, 7],
] as const)("exit code: %s", ([, lookup, code]) => {
  expect(exitCodeOf(lookup)).toBe(code);
});

test("status says in its first lines who answers what", () => {
  const status: ResolverStatus = {
    node: "h1",
    domain: "cluster.local",
    agent: "running",
    detected: "systemd-resolved answers at 127.0.0.53",
    installed: "a link of systemd-resolved",
    resolvConf: { what: "/etc/resolv.conf", servers: ["127.0.0.53"] },
    link: "up",
    port53: [{ address: "127.0.0.53%lo", program: "systemd-resolve" }],
    name: "ns.dns.cluster.local",
    asPrograms: { by: "getent ahosts ns.dns.cluster.local", answers: ["10.96.0.10"] },
    directly: [{ server: "10.96.0.10", says: "NOERROR 10.96.0.10 (1 ms)", ok: true }],
    others: [{ server: "192.0.2.53", says: "no answer within 2 s", ok: false }],
    othersAskedBy: "this host",
    stubs: [{ suffix: "corp.example", servers: ["10.0.0.1", "10.0.0.2:5353"] }],
    problems: [],
    ok: true,
  };
  const [ours, others, stub] = renderStatus(status).split("\n");
  expect(ours).toMatch(/^\*\.cluster\.local +the agent of this host \(h1\), by a link of systemd-resolved$/);
  expect(others).toMatch(/^all other names +192\.0\.2\.53$/);
  expect(stub).toMatch(/^\*\.corp\.example +10\.0\.0\.1, 10\.0\.0\.2:5353, asked by the agent$/);
  const byUs = renderStatus({ ...status, othersAskedBy: "the agent" });
  expect(byUs).toMatch(/^all other names +192\.0\.2\.53, asked by the agent$/m);
  expect(renderStatus({ ...status, problems: ["x"], ok: false })).toMatch(
    /^\*\.cluster\.local +nobody, for the programs of this host$[^]*^problem: x$/m,
  );
});
