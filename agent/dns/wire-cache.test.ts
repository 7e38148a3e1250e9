import fc from "fast-check";
import { expect, test } from "vitest";
import type { DnsChange, DnsRecord } from "#agent/compile/dns-records.ts";
import { answerQuery } from "./answer.ts";
import { encodeQuestion } from "./encode-question.ts";
import { NameCache } from "./name-cache.ts";
import { keyOfName, wireOfKey } from "./name.ts";
import { TYPE } from "./protocol.ts";
import { readQuery } from "./query.ts";
import type { Query } from "./query.ts";
import { octetLimit, writeReply } from "./reply.ts";
import type { Transport } from "./reply.ts";
import { WireCache } from "./wire-cache.ts";
import { ZoneIndex } from "./zone.ts";

const Z = "cluster.local";
const options = { domain: Z, serviceCidrs: ["10.96.0.0/16"], dnsIps: ["10.96.0.10"] };
const names = [`a.n.svc.${Z}`, `b.n.svc.${Z}`, `n.svc.${Z}`, "7.0.96.10.in-addr.arpa", "7.0.1.10.in-addr.arpa", Z];

function queryOf(name: string, type: number, udpOctets?: number): Query {
  const wire = wireOfKey(keyOfName(name) ?? "");
  const reading = readQuery(encodeQuestion({ name: wire, type, id: 7, ...(udpOctets !== undefined && { udpOctets }) }));
  if (reading.kind !== "query") throw new Error(reading.kind);
  return reading.query;
}

/** What is asked of the zone alone, with the first of equals first. */
function written(
  query: Query,
  zone: ZoneIndex,
  transport: Transport,
): { readonly message: Buffer; keep(wires: WireCache): void } | undefined {
  const outcome = answerQuery(query, zone, () => 0);
  if (outcome.kind !== "answer") return undefined;
  const message = writeReply(query, outcome.answer, transport);
  return { message, keep: (wires) => wires.keep(query, outcome.answer, message, zone.version) };
}

const record: fc.Arbitrary<DnsRecord> = fc.oneof(
  fc.record({
    name: fc.constantFrom(...names),
    type: fc.constant("A" as const),
    address: fc.constantFrom("10.0.0.1", "10.0.0.2", "10.0.0.3"),
  }),
  fc.record({ name: fc.constantFrom(...names), type: fc.constant("CNAME" as const), target: fc.constantFrom(...names) }),
  fc.record({
    name: fc.constantFrom(...names),
    type: fc.constant("SRV" as const),
    weight: fc.constant(1),
    port: fc.constant(80),
    target: fc.constantFrom(...names),
  }),
  fc.record({
    name: fc.constantFrom(...names),
    type: fc.constant("PTR" as const),
    of: fc.constantFrom("virtual-ip" as const, "endpoint" as const),
    target: fc.constantFrom(...names),
  }),
);
const change: fc.Arbitrary<DnsChange> = fc.record({
  source: fc.constantFrom("1", "2", "3"),
  records: fc.array(record, { maxLength: 4 }),
  names: fc.array(fc.constantFrom(...names), { maxLength: 2 }),
});
const question = fc.record({
  name: fc.constantFrom(...names),
  type: fc.constantFrom(TYPE.A, TYPE.AAAA, TYPE.SRV, TYPE.PTR, TYPE.CNAME, TYPE.SOA, TYPE.NS, TYPE.ANY, 65),
  udpOctets: fc.constantFrom(undefined, 512, 1232),
  transport: fc.constantFrom("udp" as const, "tcp" as const),
});

test("whatever changed and was asked before, a kept reply is octet for octet the one that would be written now", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(change, question, question, question), { minLength: 10, maxLength: 60, size: "max" }), (history) => {
      const wires = new WireCache();
      const zone = new ZoneIndex(options, 1, (name) => wires.drop(name));
      zone.synced = true;
      for (const [serial, step] of history.entries()) {
        if ("source" in step) {
          zone.say([step], serial);
          continue;
        }
        const query = queryOf(step.name, step.type, step.udpOctets);
        const kept = wires.reply(query, octetLimit(step.transport, query.edns), zone.version, 0);
        const now = written(query, zone, step.transport);
        if (kept) expect(kept).toEqual(now?.message);
        else now?.keep(wires);
      }
    }),
    { numRuns: 1000 },
  );
});

test("a kept reply of several addresses starts with each of them, and is otherwise the same", () => {
  const wires = new WireCache();
  const zone = new ZoneIndex(options, 1, (name) => wires.drop(name));
  const addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
  zone.say([{ source: "1", names: [], records: addresses.map((address) => ({ name: `a.n.svc.${Z}`, type: "A", address }) as const) }], 1);
  const query = queryOf(`a.n.svc.${Z}`, TYPE.A, 1232);
  written(query, zone, "udp")?.keep(wires);
  const replies = [0, 0.4, 0.9].map((turn) => wires.reply(query, 1232, zone.version, turn) ?? Buffer.alloc(0));
  const start = 12 + query.question.length;
  const octets = replies.map((reply) => [0, 1, 2].map((i) => reply[start + 16 * i + 15]));
  expect(octets).toEqual([
    [1, 2, 3],
    [2, 3, 1],
    [3, 1, 2],
  ]);
  expect(new Set(replies.map((reply) => reply.subarray(start + 48).toString("hex"))).size).toBe(1); // the OPT
});

test("of a name with too many records each reply is a new choice", () => {
  const wires = new WireCache();
  const zone = new ZoneIndex(options, 1, (name) => wires.drop(name));
  const records = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ name: `a.n.svc.${Z}`, type: "A", address: `10.0.${i >> 8}.${i & 255}` }) as const);
  const query = queryOf(`a.n.svc.${Z}`, TYPE.A);
  for (const [count, isKept] of [
    [1000, true],
    [1001, false],
  ] as const) {
    zone.say([{ source: "1", names: [], records: records(count) }], 1);
    written(query, zone, "tcp")?.keep(wires);
    expect(wires.reply(query, 65_535, zone.version, 0) !== undefined).toBe(isKept);
  }
});

test("id, flags and the case of the question are the client's", () => {
  const wires = new WireCache();
  const zone = new ZoneIndex(options, 1);
  written(queryOf(Z, TYPE.NS), zone, "udp")?.keep(wires);
  const name = Buffer.from("\x07CLUSTER\x05loCAL\0", "latin1");
  const reading = readQuery(encodeQuestion({ name, type: TYPE.NS, id: 0xbeef, flags: 0x0010 })); // CD, and not RD
  if (reading.kind !== "query") throw new Error(reading.kind);
  const reply = wires.reply(reading.query, 512, zone.version, 0);
  expect(reply?.readUInt16BE(0)).toBe(0xbeef);
  expect(reply?.readUInt16BE(2)).toBe(0x8490); // QR AA RA CD
  expect(reply?.subarray(12, 12 + name.length)).toEqual(name);
});

test("a name that does not exist is not kept, however many are asked for", () => {
  const wires = new WireCache();
  const zone = new ZoneIndex(options, 1);
  zone.synced = true;
  for (let i = 0; i < 100; i++) written(queryOf(`x${i}.n.svc.${Z}`, TYPE.A), zone, "udp")?.keep(wires);
  expect(wires.size).toBe(0);
});

test("what is kept is bounded in names and in octets, and the oldest goes", () => {
  const few = new NameCache<number>({ names: 3, octets: 1 << 20 });
  for (let i = 0; i < 10; i++) few.put(`${i}`, 1, i, 10);
  expect([few.size, few.get("6", 1), few.get("7", 1)]).toEqual([3, undefined, 7]);
  few.drop("8");
  expect([few.size, few.get("8", 1)]).toEqual([2, undefined]);
  const small = new NameCache<number>({ names: 100, octets: 1000 });
  for (let i = 0; i < 10; i++) small.put(`${i}`, 1, i, 200);
  expect(small.size).toBe(2);
  expect(small.octets).toBeLessThanOrEqual(1000);
  for (let i = 8; i < 10; i++) small.drop(`${i}`);
  expect([small.size, small.octets]).toEqual([0, 0]);
});
