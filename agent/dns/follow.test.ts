import fc from "fast-check";
import { expect, test } from "vitest";
import { A, CNAME, OPT, replyTo, SOA, wireName } from "#test/dns-messages.ts";
import { shortestMs } from "#test/shortest.ts";
import { encodeQuestion } from "./encode-question.ts";
import { questionFor, recordsOfReply } from "./follow.ts";
import { FLAG, HEADER_OCTETS, RCODE, TYPE } from "./protocol.ts";
import { readQuery, type Query } from "./query.ts";

const OK = FLAG.QR | FLAG.RA;
const message = encodeQuestion({ name: wireName("www.example.test"), type: TYPE.A });
const question = message.subarray(HEADER_OCTETS);

function queryOf(flags: number): Query {
  const reading = readQuery(encodeQuestion({ name: wireName("out.default.svc.cluster.local"), type: TYPE.AAAA, flags }));
  if (reading.kind !== "query") throw new Error("no query");
  return reading.query;
}

test("an ExternalName's target is asked for with the client's type and CD, and with EDNS", () => {
  const asked = questionFor(wireName("www.example.test"), queryOf(FLAG.RD | FLAG.CD));
  expect(asked).toMatchObject({ type: TYPE.AAAA, edns: { udpOctets: 1232 } });
  expect(asked?.flags).toBe(FLAG.RD | FLAG.CD);
  expect(asked?.key).toBe("\x03www\x07example\x04test\0");
});

test("aliases and addresses are taken out of a reply with their names in full, other records are not", () => {
  const reply = replyTo(message, {
    answers: [CNAME("cdn.test", 60), { ...A("192.0.2.1", 7), name: "cdn.test" }, { type: TYPE.TXT, ttl: 1, data: Buffer.of(1, 65) }],
    authority: [SOA("test", 1, 1)],
    additional: [OPT()],
  });
  const { rcode, records, authority, isCut } = recordsOfReply(reply, question);
  expect([rcode, isCut, records.length, authority.length]).toEqual([RCODE.NOERROR, false, 2, 1]);
  expect(records[0]?.subarray(0, 18).equals(wireName("www.example.test"))).toBe(true);
  expect(records[1]?.subarray(-4).join(".")).toBe("192.0.2.1");
});

test("the SOA of a reply is passed on with its names in full; one that is not whole is not", () => {
  const soa = Buffer.concat([wireName("ns.example.test"), wireName("host.example.test"), Buffer.alloc(20, 7)]);
  const owner = Buffer.of(0xc0, HEADER_OCTETS + 4); // example.test of the question
  const record = (data: Buffer): Buffer => Buffer.concat([owner, Buffer.from("00060001000000090000", "hex").fill(data.length, 9), data]);
  const read = (data: Buffer, counts: number): readonly Buffer[] => {
    const reply = Buffer.concat([replyTo(message, { flags: OK | RCODE.NXDOMAIN }), record(data)]);
    reply.writeUInt16BE(counts, 8);
    return recordsOfReply(reply, question).authority;
  };
  const pointing = Buffer.concat([Buffer.from("\x02ns", "latin1"), owner, Buffer.from("\x04host", "latin1"), owner, Buffer.alloc(20, 7)]);
  const whole = Buffer.concat([wireName("example.test"), Buffer.from("00060001000000090000", "hex").fill(soa.length, 9), soa]);
  expect(read(pointing, 1)).toEqual([whole]);
  expect(read(soa, 1)).toEqual([whole]);
  expect(read(soa, 2)).toEqual([whole]);
  expect(read(soa.subarray(0, -1), 1)).toEqual([]);
  expect(read(Buffer.concat([soa, Buffer.of(0)]), 1)).toEqual([]);
});

test("a chain that ends with an alias says where it leads, one that ends with an address does not", () => {
  const endOf = (...answers: ReturnType<typeof A>[]) => recordsOfReply(replyTo(message, { answers }), question).openEnd;
  expect(endOf(CNAME("a.test", 60), CNAME("B.test", 60, "a.test"))).toBe("\x01b\x04test\0");
  expect(endOf(CNAME("a.test", 60), { ...A("192.0.2.1", 60), name: "a.test" })).toBeUndefined();
  expect(endOf()).toBeUndefined();
});

test.for([
  [OK | RCODE.NXDOMAIN, RCODE.NXDOMAIN, false],
  [OK | FLAG.TC, RCODE.NOERROR, true],
  [OK | RCODE.SERVFAIL, RCODE.SERVFAIL, false], // the code is that of the chain's last name (RFC 6604)
  [OK | RCODE.REFUSED, RCODE.SERVFAIL, false],
] as const)("flags %d of a reply give rcode %d, cut: %s", ([flags, rcode, isCut]) => {
  expect(recordsOfReply(replyTo(message, { flags }), question)).toEqual({
    rcode,
    records: [],
    authority: [],
    openEnd: undefined,
    isCut,
    ede: undefined,
  });
});

test.for([
  ["in an OPT alone", [OPT(0, Buffer.from("000f00020016", "hex"))], 22],
  ["behind another option", [A("192.0.2.1", 1), OPT(0, Buffer.from("000a0001ff000f0004001768690000", "hex"))], 23],
  ["none in the OPT", [OPT(0, Buffer.from("000a000400000000", "hex"))], undefined],
  ["one that is cut", [OPT(0, Buffer.from("000f000200", "hex"))], undefined],
  ["an option longer than all of it", [OPT(0, Buffer.from("000affff000f00020016", "hex"))], undefined],
] as const)("the reason why is read out of a reply: %s", ([, additional, ede]) => {
  const reply = replyTo(message, { flags: OK | RCODE.SERVFAIL, authority: [SOA("test", 1, 1)], additional });
  expect(recordsOfReply(reply, question).ede).toBe(ede);
});

test("whatever a reply holds, reading it takes no longer than a few milliseconds", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(0xffff), (tail, count) => {
      const reply = Buffer.concat([replyTo(message, { flags: OK }), tail]);
      reply.writeUInt16BE(count, 6);
      for (const record of recordsOfReply(reply, question).records) expect(record.length).toBeLessThanOrEqual(255 + 10 + 255);
    }),
    { numRuns: 1000 },
  );
  // A name of 127 labels, and 4,000 records that point at it.
  const long = { ...A("192.0.2.1", 1), name: Array.from({ length: 126 }, () => "a").join(".") };
  const pointing = { ...A("192.0.2.2", 1) };
  const reply = replyTo(message, { answers: [long, ...Array.from({ length: 4000 }, () => pointing)] });
  for (let at = HEADER_OCTETS + question.length + 267; at < reply.length; at += 16)
    reply.writeUInt16BE(0xc000 | (HEADER_OCTETS + question.length), at);
  expect(shortestMs(() => recordsOfReply(reply, question))).toBeLessThan(20);
  const { records } = recordsOfReply(reply, question);
  expect(records).toHaveLength(256);
  expect(records.at(-1)?.length).toBe(253 + 14);
});
