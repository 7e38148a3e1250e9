import fc from "fast-check";
import { expect, test } from "vitest";
import { A, replyTo, SOA, wireName, type TestReply } from "#test/dns-messages.ts";
import { encodeQuestion } from "./encode-question.ts";
import { FLAG, HEADER_OCTETS, RCODE, TYPE } from "./protocol.ts";
import { readReply } from "./read-reply.ts";
import { ReplyCache, STALE_MS, storedReply, type StoredReply } from "./reply-cache.ts";

const query = encodeQuestion({ name: wireName("www.example.test"), type: TYPE.A });

function stored(reply: TestReply, nowMs: number): StoredReply {
  const message = replyTo(query, reply);
  const parts = readReply(message, query.length - HEADER_OCTETS);
  if (!parts) throw new Error("unreadable");
  return storedReply(message, parts, nowMs);
}

test("a reply is fresh for its life, stale for an hour more, and then forgotten", () => {
  const cache = new ReplyCache();
  const entry = stored({ answers: [A("192.0.2.1", 60)] }, 1000);
  cache.put("k", entry);
  expect(entry.freshUntilMs).toBe(61_000);
  expect(cache.find("k", 60_999)).toBeDefined();
  expect(cache.find("k", 61_000 + STALE_MS - 1)).toBeDefined();
  expect(cache.find("k", 61_000 + STALE_MS)).toBeUndefined();
  expect([cache.size, cache.octets]).toEqual([0, 0]);
});

test("a failure is never stale, and takes no better reply's place", () => {
  const cache = new ReplyCache();
  const failure = (nowMs: number): StoredReply => stored({ flags: FLAG.QR | RCODE.SERVFAIL }, nowMs);
  cache.put("k", failure(0));
  expect(cache.find("k", 1999)).toBeDefined();
  expect(cache.find("k", 2000)).toBeUndefined();
  cache.put("k", stored({ flags: FLAG.QR | RCODE.NXDOMAIN, authority: [SOA("test", 30, 30)] }, 0));
  cache.put("k", failure(40_000));
  expect(cache.find("k", 40_000)?.parts.flags).toBe(FLAG.QR | RCODE.NXDOMAIN);
});

test("who was not asked for longest goes first", () => {
  const cache = new ReplyCache({ entries: 3, octets: 1e6 });
  for (const key of ["a", "b", "c"]) cache.put(key, stored({ answers: [A("192.0.2.1", 60)] }, 0));
  cache.find("a", 1);
  cache.put("d", stored({ answers: [A("192.0.2.1", 60)] }, 0));
  expect(["a", "b", "c", "d"].filter((key) => cache.find(key, 1))).toEqual(["a", "c", "d"]);
});

test("a reply that was cut out of something larger is kept without the rest", () => {
  const cache = new ReplyCache();
  const entry = stored({ answers: [A("192.0.2.1", 60)] }, 0);
  const within = Buffer.concat([Buffer.alloc(1000), entry.wire]);
  cache.put("k", { ...entry, wire: within.subarray(1000) });
  const kept = cache.find("k", 1)?.wire;
  expect(kept?.equals(entry.wire)).toBe(true);
  expect(kept?.buffer.byteLength).toBe(entry.wire.length);
});

test("whatever is put and found, neither entries nor octets pass their limits, and the octets are those of what is there", () => {
  const one = stored({ answers: [A("192.0.2.1", 60)] }, 0);
  const many = stored({ answers: Array.from({ length: 20 }, () => A("192.0.2.1", 5)) }, 0);
  const step = fc.record({
    key: fc.constantFrom("a", "b", "c", "d", "e", "f"),
    isLarge: fc.boolean(),
    isFind: fc.boolean(),
    nowMs: fc.nat(8_000_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const cache = new ReplyCache({ entries: 4, octets: 2000 });
      for (const { key, isLarge, isFind, nowMs } of steps) {
        if (isFind) cache.find(key, nowMs);
        else cache.put(key, isLarge ? many : one);
        expect(cache.size).toBeLessThanOrEqual(4);
        expect(cache.octets).toBeLessThanOrEqual(2000);
      }
      for (const key of "abcdef") cache.find(key, 1e12);
      expect([cache.size, cache.octets]).toEqual([0, 0]);
    }),
  );
});
