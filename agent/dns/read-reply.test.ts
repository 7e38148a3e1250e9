import fc from "fast-check";
import { expect, test } from "vitest";
import { A, CNAME, OPT, replyTo, SOA, wireName, type TestReply } from "#test/dns-messages.ts";
import { shortestMs } from "#test/shortest.ts";
import { encodeQuestion } from "./encode-question.ts";
import { FLAG, HEADER_OCTETS, RCODE, TYPE } from "./protocol.ts";
import { readReply } from "./read-reply.ts";

const query = encodeQuestion({ name: wireName("www.example.test"), type: TYPE.A });
const octets = query.length - HEADER_OCTETS;
const OK = FLAG.QR | FLAG.RA;

test.for<[string, TestReply, number]>([
  ["an answer, for its own life", { answers: [A("192.0.2.1", 60)] }, 60],
  [
    "an answer, for the shortest life of its records",
    { answers: [A("192.0.2.1", 60), A("192.0.2.2", 7)], additional: [A("192.0.2.3", 90)] },
    7,
  ],
  ["an answer, for five minutes at most", { answers: [A("192.0.2.1", 86_400)] }, 300],
  ["an alias and its answer", { answers: [CNAME("a.test", 9), A("192.0.2.1", 60)] }, 9],
  ["an alias alone, which is no answer: not at all", { answers: [CNAME("a.test", 9)] }, 0],
  ["an answer that says 0: not at all", { answers: [A("192.0.2.1", 0)] }, 0],
  ["a life beyond what the protocol has: not at all (RFC 2181)", { answers: [A("192.0.2.1", 0x80000000)] }, 0],
  ["a missing name, as its zone has it", { flags: OK | RCODE.NXDOMAIN, authority: [SOA("test", 20, 900)] }, 20],
  ["a missing name, for its zone's minimum", { flags: OK | RCODE.NXDOMAIN, authority: [SOA("test", 900, 12)] }, 12],
  ["a missing name, for 30 s at most", { flags: OK | RCODE.NXDOMAIN, authority: [SOA("test", 900, 900)] }, 30],
  ["a missing type behind an alias", { answers: [CNAME("a.test", 9)], authority: [SOA("test", 900, 900)] }, 9],
  ["a missing name whose zone says nothing: not at all", { flags: OK | RCODE.NXDOMAIN }, 0],
  ["SERVFAIL, for two seconds", { flags: OK | RCODE.SERVFAIL }, 2],
  ["REFUSED: not at all", { flags: OK | RCODE.REFUSED, authority: [SOA("test", 900, 900)] }, 0],
  ["what was cut: not at all", { flags: OK | FLAG.TC, answers: [A("192.0.2.1", 60)] }, 0],
  ["an rcode that OPT extends: not at all", { answers: [A("192.0.2.1", 60)], additional: [OPT(0x01000000)] }, 0],
  ["with OPT, which has no life", { answers: [A("192.0.2.1", 60)], additional: [OPT(0x8000)] }, 60],
])("keeps %s", ([, reply, seconds]) => {
  expect(readReply(replyTo(query, reply), octets)?.keepSeconds).toBe(seconds);
});

test("records before OPT are found, OPT and what follows are left out", () => {
  const reply = replyTo(query, {
    answers: [A("192.0.2.1", 60), A("192.0.2.2", 61)],
    authority: [SOA("test", 62, 1)],
    additional: [A("192.0.2.3", 63), OPT(), A("192.0.2.4", 64)],
  });
  const parts = readReply(reply, octets);
  expect(parts?.counts).toEqual([2, 1, 1]);
  expect(parts?.ttlAts.map((at) => reply.readUInt32BE(at))).toEqual([60, 61, 62, 63]);
  expect(reply.length - (parts?.end ?? 0)).toBe(11 + 16);
});

test.for<[string, (reply: Buffer) => Buffer]>([
  ["a record that ends behind the message", (reply) => reply.subarray(0, -1)],
  ["65,535 answers announced, one there", (reply) => (reply.writeUInt16BE(0xffff, 6), reply)],
  ["data longer than the message", (reply) => (reply.writeUInt16BE(0xffff, reply.length - 6), reply)],
  ["a label of a kind that does not exist", (reply) => ((reply[HEADER_OCTETS + octets] = 0x80), reply)],
])("%s makes a reply unreadable, and only cut where it says so itself", ([, spoil]) => {
  const spoilt = (flags: number): Buffer => spoil(Buffer.from(replyTo(query, { flags, answers: [A("192.0.2.1", 60)] })));
  expect(readReply(spoilt(OK), octets)).toBeUndefined();
  expect(readReply(spoilt(OK | FLAG.TC), octets)).toMatchObject({ isWhole: false, keepSeconds: 0 });
});

test("OPT among the answers makes a reply unreadable", () => {
  expect(readReply(replyTo(query, { answers: [OPT(), A("192.0.2.1", 60)] }), octets)).toBeUndefined();
});

test("whatever comes behind the question, all that is found lies in the message, and the time is linear", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.array(fc.nat(0xffff), { minLength: 4, maxLength: 4 }), (tail, counts) => {
      const reply = Buffer.concat([query, tail]);
      for (const [i, count] of counts.entries()) reply.writeUInt16BE(i === 0 ? 1 : count % 40, 4 + 2 * i);
      const parts = readReply(reply, octets);
      if (!parts) return;
      expect(parts.end).toBeLessThanOrEqual(reply.length);
      expect(parts.counts[0] + parts.counts[1] + parts.counts[2]).toBe(parts.ttlAts.length);
      for (const at of parts.ttlAts) expect(at + 6).toBeLessThanOrEqual(parts.end);
    }),
    { numRuns: 2000 },
  );
  // 65 KB of the smallest records, and of pointers that point at themselves.
  const tiny = Buffer.concat([query, Buffer.alloc(65_000)]);
  tiny.writeUInt16BE(0xffff, 6);
  const loops = Buffer.concat([query, Buffer.alloc(65_000, Buffer.of(0xc0, query.length))]);
  loops.writeUInt16BE(0xffff, 6);
  for (const reply of [tiny, loops]) {
    expect(readReply(reply, octets)).toBeUndefined();
    expect(shortestMs(() => readReply(reply, octets))).toBeLessThan(20);
  }
});
