import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cpuMs } from "#test/cpu-time.ts";
import { answerQuery } from "./answer.ts";
import { encodeQuestion } from "./encode-question.ts";
import { keyOfName, readName, textOfKey, wireOfKey } from "./name.ts";
import { FLAG, RCODE, TYPE } from "./protocol.ts";
import { readQuery } from "./query.ts";
import { octetLimit, writeRefusal, writeReply } from "./reply.ts";
import { recordsOfReply } from "./follow.ts";
import { ZoneIndex } from "./zone.ts";

const name = wireOfKey(keyOfName("web.default.svc.cluster.local") ?? "");
const plain = encodeQuestion({ name, type: TYPE.A, id: 7 });
const withOpt = encodeQuestion({ name, type: TYPE.A, udpOctets: 1232 });

function patched(message: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(value, at);
  return copy;
}

describe("what is not answered as a question", () => {
  const opt = withOpt.subarray(-11);
  test.for([
    ["no header", Buffer.alloc(11), "short"],
    ["a response", patched(plain, 2, FLAG.QR), "response"],
    ["an opcode that is not QUERY", patched(plain, 2, 0x2800), RCODE.NOTIMP],
    ["no question", patched(plain, 4, 0), RCODE.FORMERR],
    ["65,535 questions", patched(plain, 4, 65_535), RCODE.FORMERR],
    ["answers", patched(plain, 6, 1), RCODE.FORMERR],
    ["authorities", patched(plain, 8, 1), RCODE.FORMERR],
    ["octets behind the question", Buffer.concat([plain, Buffer.of(0)]), RCODE.FORMERR],
    ["a name that points at itself", Buffer.concat([plain.subarray(0, 12), Buffer.of(0xc0, 12, 0, 1, 0, 1)]), RCODE.FORMERR],
    [
      "a label of 64 octets",
      Buffer.concat([plain.subarray(0, 12), Buffer.of(64), Buffer.alloc(64, 97), Buffer.of(0, 0, 1, 0, 1)]),
      RCODE.FORMERR,
    ],
    ["a name without an end", plain.subarray(0, 20), RCODE.FORMERR],
    [
      "a name of 64 labels of 4 octets",
      Buffer.concat([plain.subarray(0, 12), Buffer.from("\x03aaa".repeat(64)), Buffer.of(0, 0, 1, 0, 1)]),
      RCODE.FORMERR,
    ],
    ["additional records that are not there", patched(plain, 10, 1), RCODE.FORMERR],
    ["two OPT records", patched(Buffer.concat([withOpt, opt]), 10, 2), RCODE.FORMERR],
    [
      "EDNS version 1",
      (() => {
        const m = Buffer.from(withOpt);
        m[m.length - 5] = 1;
        return m;
      })(),
      RCODE.BADVERS,
    ],
    ["class CH", patched(plain, plain.length - 2, 3), RCODE.REFUSED],
    ["AXFR", patched(plain, plain.length - 4, 252), RCODE.REFUSED],
    ["IXFR", patched(plain, plain.length - 4, 251), RCODE.REFUSED],
  ] as const)("%s", ([, message, want]) => {
    const reading = readQuery(message);
    expect(reading.kind === "drop" ? reading.reason : reading.kind === "refuse" ? reading.refusal.rcode : "query").toBe(want);
  });

  test("a refusal repeats id and question, and has OPT where the question had", () => {
    const bad = Buffer.from(withOpt);
    bad[bad.length - 5] = 1;
    const reading = readQuery(bad);
    if (reading.kind !== "refuse") throw new Error(reading.kind);
    const reply = writeRefusal(reading.refusal);
    expect(reply.subarray(12, 12 + name.length)).toEqual(name);
    expect(reply.readUInt32BE(reply.length - 6)).toBe(1 << 24); // BADVERS is 16: its upper part stands in OPT
  });
});

describe("names", () => {
  test("a label may hold a dot, and is another name than two labels", () => {
    const dotted = readQuery(encodeQuestion({ name: Buffer.from("\x0bweb.default\x03svc\x07cluster\x05local\0", "latin1"), type: 1 }));
    expect(dotted.kind === "query" && dotted.query.key !== keyOfName("web.default.svc.cluster.local")).toBe(true);
    expect(dotted.kind === "query" ? textOfKey(dotted.query.key) : "").toBe("web\\046default.svc.cluster.local");
  });

  test("only ASCII letters have a case", () => {
    const key = (text: string): string => {
      const reading = readQuery(encodeQuestion({ name: Buffer.from(`${String.fromCharCode(text.length)}${text}\0`, "latin1"), type: 1 }));
      return reading.kind === "query" ? reading.query.key : "";
    };
    expect(key("ABC")).toBe(key("abc"));
    expect(key("\xc0B")).toBe("\x02\xc0b\0");
  });

  test("a chain of pointers is left after ten", () => {
    const chain = Buffer.alloc(60_000);
    for (let at = 2; at < chain.length; at += 2) chain.writeUInt16BE(0xc000 | ((at - 2) & 0x3fff), at);
    expect(readName(chain, 16_000)).toBeUndefined();
  });
});

const zone = new ZoneIndex({ domain: "cluster.local", serviceCidrs: ["10.96.0.0/12", "fd00::/108"], dnsIps: ["10.96.0.10"] }, 1);
zone.apply(
  [
    {
      source: "service default/web",
      names: [],
      records: Array.from(
        { length: 200 },
        (_, i) => ({ name: "web.default.svc.cluster.local", type: "A", address: `10.0.0.${i + 1}` }) as const,
      ),
    },
    {
      source: "service default/x",
      names: [],
      records: [{ name: "x.default.svc.cluster.local", type: "CNAME", target: "web.default.svc.cluster.local" }],
    },
  ],
  { all: true, synced: true, serial: 1 },
);

/** Mostly right messages with some wrong octets, in names that exist, nearly exist, or do not. */
const label = fc.oneof(
  fc.constantFrom("web", "x", "default", "svc", "cluster", "local", "_tcp", "arpa", "in-addr"),
  fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 63 }),
);
const message = fc
  .record({
    labels: fc.array(label, { maxLength: 12 }),
    type: fc.oneof(fc.constantFrom(1, 5, 6, 12, 16, 28, 33, 255), fc.integer({ min: 0, max: 65_535 })),
    udpOctets: fc.option(fc.integer({ min: 0, max: 65_535 }), { nil: undefined }),
    edits: fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }),
    tail: fc.uint8Array({ maxLength: 40 }),
  })
  .map(({ labels, type, udpOctets, edits, tail }) => {
    const wire = Buffer.concat([
      ...labels.map((text) => Buffer.concat([Buffer.of(text.length), Buffer.from(text, "latin1")])),
      Buffer.of(0),
    ]);
    const base = encodeQuestion({ name: wire, type, ...(udpOctets !== undefined && { udpOctets }) });
    const whole = Buffer.concat([base, edits.length > 2 ? tail : Buffer.alloc(0)]);
    for (const [at, value] of edits) if (at < whole.length) whole[at] = value;
    return whole;
  });

test("no message makes us throw, think for long, or send more than the client takes", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        message,
        fc.uint8Array({ maxLength: 300 }).map((octets) => Buffer.from(octets)),
      ),
      (octets) => {
        const before = process.threadCpuUsage();
        const reading = readQuery(octets);
        if (reading.kind === "refuse") expect(writeRefusal(reading.refusal).length).toBeLessThanOrEqual(octets.length + 11);
        if (reading.kind === "query") {
          const outcome = answerQuery(reading.query, zone, Math.random);
          if (outcome.kind === "answer")
            expect(writeReply(reading.query, outcome.answer, "udp").length).toBeLessThanOrEqual(octetLimit("udp", reading.query.edns));
        }
        expect(process.threadCpuUsage(before).user).toBeLessThan(250_000); // µs; the measure is that nothing grows
      },
    ),
    { numRuns: 20_000 },
  );
});

test("no reply of an upstream makes us throw", () => {
  const question = plain.subarray(12);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(65_535), (octets, answers) => {
      const reply = Buffer.concat([plain, octets]);
      reply.writeUInt16BE(answers, 6);
      expect(recordsOfReply(reply, question).records.length).toBeLessThanOrEqual(40);
    }),
    { numRuns: 5000 },
  );
});

test("20,000 pointers in an upstream's reply are read in no time", () => {
  const chain = Buffer.alloc(65_535 - plain.length);
  for (let at = 0; at + 16 <= chain.length; at += 16) {
    chain.writeUInt16BE(0xc000 | Math.min(0x3fff, plain.length + Math.max(0, at - 16)), at);
    chain.writeUInt16BE(5, at + 2);
    chain.writeUInt16BE(1, at + 4);
    chain.writeUInt16BE(4, at + 10);
    chain.writeUInt32BE(0xc00cc00c, at + 12);
  }
  const reply = Buffer.concat([plain, chain]);
  reply.writeUInt16BE(4000, 6);
  expect(cpuMs(() => void recordsOfReply(reply, plain.subarray(12)))).toBeLessThan(250);
});
