import { expect, test } from "vitest";
import { wireName } from "#test/dns-messages.ts";
import { answerBits, capUdpOctets, readClientOpt } from "./client-opt.ts";
import { encodeQuestion } from "./encode-question.ts";
import { FLAG, HEADER_OCTETS, TYPE } from "./protocol.ts";

const plain = encodeQuestion({ name: wireName("www.example.test"), type: TYPE.A });
const question = plain.subarray(HEADER_OCTETS);

/** With an OPT record: its size, its DO bit, its options as hexadecimal. */
function withOpt(options: string, { udpOctets = 4096, isDnssecOk = false } = {}): Buffer {
  const data = Buffer.from(options, "hex");
  const opt = Buffer.from("00002900000000000000" + "00", "hex");
  opt.writeUInt16BE(udpOctets, 3);
  opt.writeUInt16BE(isDnssecOk ? 0x8000 : 0, 7);
  opt.writeUInt16BE(data.length, 9);
  const message = Buffer.concat([plain, opt, data]);
  message.writeUInt16BE(1, 10);
  return message;
}

test.for<[string, string, boolean]>([
  ["no options", "", true],
  ["a cookie", "000a00080123456789abcdef", true],
  ["a cookie and padding", "000a00080123456789abcdef000c00020000", true],
  ["a client's subnet, on which the answer depends", "0008000700011800c00002", false],
  ["a cookie and a subnet", "000a00080123456789abcdef0008000700011800c00002", false],
  ["an option that nobody knows", "fde90000", false],
  ["an option that ends in its middle", "000a00", false],
])("whether others may have the answer: %s", ([, options, isSharable]) => {
  expect(readClientOpt(withOpt(options), question).isSharable).toBe(isSharable);
});

test("a question that asks for no recursion is its client's alone", () => {
  const iterative = Buffer.from(plain);
  iterative.writeUInt16BE(0, 2);
  expect(readClientOpt(plain, question).isSharable).toBe(true);
  expect(readClientOpt(iterative, question).isSharable).toBe(false);
});

test("DO, CD and AD make other keys", () => {
  const bits = (flags: number, isDnssecOk: boolean) => answerBits(flags, readClientOpt(withOpt("", { isDnssecOk }), question));
  const all = [0, FLAG.CD, 0x20, FLAG.CD | 0x20].flatMap((flags) => [bits(FLAG.RD | flags, false), bits(FLAG.RD | flags, true)]);
  expect(new Set(all).size).toBe(8);
});

test("upstreams are asked for no more than 1232 octets", () => {
  const sizeAfter = (udpOctets: number): number => {
    const message = withOpt("", { udpOctets });
    capUdpOctets(message, readClientOpt(message, question));
    return message.readUInt16BE(plain.length + 3);
  };
  expect([512, 1232, 1233, 65_535].map(sizeAfter)).toEqual([512, 1232, 1232, 1232]);
});
