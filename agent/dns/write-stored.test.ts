import fc from "fast-check";
import { expect, test } from "vitest";
import { A, OPT, replyTo, SOA, wireName, type TestReply } from "#test/dns-messages.ts";
import { encodeQuestion } from "./encode-question.ts";
import { FLAG, HEADER_OCTETS, RCODE, TYPE } from "./protocol.ts";
import { readQuery, type Query } from "./query.ts";
import { readReply } from "./read-reply.ts";
import { storedReply, type StoredReply } from "./reply-cache.ts";
import { EDE, writeFailure, writeStored } from "./write-stored.ts";

const lower = encodeQuestion({ name: wireName("www.example.test"), type: TYPE.A, id: 7 });
const question = lower.length - HEADER_OCTETS;

/** The same question, in capitals, of somebody else. */
function ask(udpOctets?: number, flags: number = FLAG.RD): Query {
  const name = Buffer.from(wireName("www.example.test").toString("latin1").toUpperCase(), "latin1");
  const reading = readQuery(encodeQuestion({ name, type: TYPE.A, id: 9, flags, ...(udpOctets !== undefined && { udpOctets }) }));
  if (reading.kind !== "query") throw new Error("no query");
  return reading.query;
}

function stored(reply: TestReply, nowMs = 0): StoredReply {
  const message = replyTo(lower, { flags: FLAG.QR | FLAG.RA | FLAG.AA, ...reply });
  const parts = readReply(message, question);
  if (!parts) throw new Error("unreadable");
  return storedReply(message, parts, nowMs);
}

const addresses = (count: number, ttl: number) => Array.from({ length: count }, (_, i) => A(`192.0.2.${i % 256}`, ttl));
const client = (query: Query, transport: "udp" | "tcp" = "udp") => ({ query, transport, isDnssecOk: false });

test("the copy has the client's id, letters and RD, is not authoritative, and its TTLs are older", () => {
  const entry = stored({ answers: addresses(2, 60), authority: [SOA("test", 90, 1)], additional: [OPT(0x8000)] }, 1000);
  const query = ask();
  const reply = writeStored(client(query), entry, 8999);
  expect(reply.readUInt16BE(0)).toBe(9);
  expect(reply.readUInt16BE(2)).toBe(FLAG.QR | FLAG.RA | FLAG.RD);
  expect(reply.subarray(HEADER_OCTETS, HEADER_OCTETS + question).equals(query.question)).toBe(true);
  const parts = readReply(reply, question);
  expect(parts?.counts).toEqual([2, 1, 0]);
  expect(parts?.ttlAts.map((at) => reply.readUInt32BE(at))).toEqual([53, 53, 83]);
  expect(entry.wire.readUInt32BE(entry.parts.ttlAts[0] ?? 0)).toBe(60); // the entry stays as it is
});

test("who speaks EDNS gets OPT, also where the reply came without; who does not gets none", () => {
  const entry = stored({ answers: addresses(1, 60) });
  const withOpt = writeStored({ ...client(ask(4096)), isDnssecOk: true }, entry, 0);
  expect(withOpt.readUInt16BE(10)).toBe(1);
  expect(withOpt.subarray(-11).toString("hex")).toBe(`000029${(1232).toString(16).padStart(4, "0")}000080000000`);
  expect(writeStored(client(ask()), stored({ answers: addresses(1, 60), additional: [OPT()] }), 0).readUInt16BE(10)).toBe(0);
});

test("a stale reply lives 30 s more and says what it is", () => {
  const entry = stored({ answers: addresses(1, 60) }, 0);
  const reply = writeStored(client(ask(1232)), entry, 60_000);
  expect(reply.readUInt32BE(entry.parts.ttlAts[0] ?? 0)).toBe(30);
  expect(reply.subarray(-6).toString("hex")).toBe("000f00020003");
  const missing = stored({ flags: FLAG.QR | RCODE.NXDOMAIN, authority: [SOA("test", 10, 10)] }, 0);
  expect(
    writeStored(client(ask(1232)), missing, 60_000)
      .subarray(-6)
      .toString("hex"),
  ).toBe("000f00020013");
});

test.for([EDE.noReachableAuthority, EDE.networkError])("a failure says why (%d) to those who speak EDNS", (ede) => {
  const reply = writeFailure(client(ask(1232)), RCODE.SERVFAIL, ede);
  expect(reply.readUInt16BE(2) & 15).toBe(RCODE.SERVFAIL);
  expect(reply.readUInt16BE(reply.length - 2)).toBe(ede);
  expect(writeFailure(client(ask()), RCODE.SERVFAIL, ede)).toHaveLength(HEADER_OCTETS + question);
});

test("what does not fit is cut behind a record: additional ones in silence, others with TC", () => {
  const additional = writeStored(client(ask()), stored({ answers: addresses(10, 60), additional: addresses(50, 60) }), 0);
  expect(additional.readUInt16BE(2) & FLAG.TC).toBe(0);
  expect(additional.readUInt16BE(6)).toBe(10);
  const answers = writeStored(client(ask()), stored({ answers: addresses(100, 60) }), 0);
  expect(answers.readUInt16BE(2) & FLAG.TC).toBe(FLAG.TC);
  expect(answers.readUInt16BE(6)).toBe(29);
  expect(writeStored(client(ask(), "tcp"), stored({ answers: addresses(100, 60) }), 0).readUInt16BE(6)).toBe(100);
});

test("whatever the reply and whoever asks, the copy can be read, fits, and no TTL has grown", () => {
  const counts = fc.record({ answers: fc.nat(80), authority: fc.nat(5), additional: fc.nat(40), hasOpt: fc.boolean() });
  const asker = fc.record({ udpOctets: fc.option(fc.integer({ min: 0, max: 0xffff }), { nil: undefined }), isTcp: fc.boolean() });
  fc.assert(
    fc.property(counts, asker, fc.nat(0x7fffffff), fc.nat(400_000), (sizes, { udpOctets, isTcp }, ttl, laterMs) => {
      const entry = stored({
        answers: addresses(sizes.answers, ttl),
        authority: addresses(sizes.authority, ttl),
        additional: [...addresses(sizes.additional, ttl), ...(sizes.hasOpt ? [OPT()] : [])],
      });
      const reply = writeStored(client(ask(udpOctets), isTcp ? "tcp" : "udp"), entry, laterMs);
      const parts = readReply(reply, question);
      expect(parts?.isWhole).toBe(true);
      if (!isTcp) expect(reply.length).toBeLessThanOrEqual(udpOctets === undefined ? 512 : Math.max(512, Math.min(1232, udpOctets)));
      const isStale = entry.parts.keepSeconds > 0 && laterMs >= entry.freshUntilMs;
      for (const at of parts?.ttlAts ?? [])
        expect(reply.readUInt32BE(at)).toBe(isStale ? 30 : Math.max(0, ttl - Math.floor(laterMs / 1000)));
    }),
    { numRuns: 500 },
  );
});
