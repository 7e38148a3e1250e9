import { encodeQuestion } from "#agent/dns/encode-question.ts";
import { wireName } from "#test/dns-messages.ts";
import { Z } from "./world.ts";

/**
 * Messages that are not plain questions, and what comes back: id, flags, code, records, whether there is an OPT, and how long it is at most. undefined = nothing,
 * and over TCP the connection is closed.
 */
export type ProtocolRow = readonly [
  sentence: string,
  message: Buffer,
  wanted: { readonly udp: string | undefined; readonly tcp?: string | undefined },
];

const ID = 7;
const name = wireName(`web.default.svc.${Z}`);
const many = wireName(`many.default.svc.${Z}`);
const plain = encodeQuestion({ name, type: 1, id: ID });
const withOpt = encodeQuestion({ name, type: 1, id: ID, udpOctets: 1232 });
const opt = withOpt.subarray(-11);

/** `more`: further places and values. */
function patched(message: Buffer, at: number, value: number, ...more: readonly number[]): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(value, at < 0 ? message.length + at : at);
  const [next, nextValue, ...rest] = more;
  return next === undefined || nextValue === undefined ? copy : patched(copy, next, nextValue, ...rest);
}

function tail(message: Buffer, additional: number, ...more: readonly Buffer[]): Buffer {
  return patched(Buffer.concat([message, ...more]), 10, additional);
}

const formerr = { udp: "7 rd ra FORMERR ≤512" };
const formerrOpt = { udp: "7 rd ra FORMERR OPT ≤512" };
const unreadable = { udp: "7 rd ra FORMERR no question ≤512" };
const unreadableOpt = { udp: "7 rd ra FORMERR OPT no question ≤512" };
const notimpOpt = { udp: "7 rd ra NOTIMP OPT ≤512" };
const refused = { udp: "7 rd ra REFUSED ≤512" };
const found = { udp: "7 aa rd ra NOERROR A×1 ≤512" };
const foundOpt = { udp: "7 aa rd ra NOERROR A×1 OPT ≤512" };

export const protocolRows: readonly ProtocolRow[] = [
  ["a header that is not whole gets nothing", plain.subarray(0, 11), { udp: undefined }],
  ["a response gets nothing", patched(plain, 2, 0x8100), { udp: undefined }],
  ["NOTIFY is NOTIMP", patched(plain, 2, 0x2100), { udp: "7 rd ra NOTIMP ≤512" }],
  ["UPDATE is NOTIMP", patched(plain, 2, 0x2900), { udp: "7 rd ra NOTIMP ≤512" }],
  ["NOTIFY with OPT is NOTIMP with OPT", patched(withOpt, 2, 0x2100), notimpOpt],
  [
    "so is NOTIFY with its SOA",
    patched(Buffer.concat([plain, Buffer.of(0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 1, 0), opt]), 2, 0x2100, 6, 1, 10, 1),
    notimpOpt,
  ],
  ["and UPDATE with OPT", patched(withOpt, 2, 0x2900), notimpOpt],
  [
    "a message of another kind, with OPT and no question",
    patched(Buffer.concat([plain.subarray(0, 12), opt]), 2, 0x3100, 4, 0, 10, 1),
    {
      udp: "7 rd ra NOTIMP OPT no question ≤512",
    },
  ],
  ["IQUERY is NOTIMP", patched(plain, 2, 0x0900), { udp: "7 rd ra NOTIMP ≤512" }],
  ["no question is FORMERR", patched(plain.subarray(0, 12), 4, 0), unreadable],
  ["with OPT, too", patched(Buffer.concat([plain.subarray(0, 12), opt]), 4, 0, 10, 1), unreadableOpt],
  ["two questions are FORMERR", patched(Buffer.concat([plain, plain.subarray(12)]), 4, 2), unreadable],
  ["with OPT, too", patched(Buffer.concat([plain, plain.subarray(12), opt]), 4, 2, 10, 1), unreadableOpt],
  ["65,535 questions are FORMERR", patched(plain, 4, 65_535), unreadable],
  ["an answer in a question is FORMERR", patched(plain, 6, 1), formerr],
  ["one that is said to be there, and is the OPT", patched(withOpt, 6, 1), formerrOpt],
  [
    "one that is there, and an OPT",
    patched(Buffer.concat([plain, Buffer.of(0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1), opt]), 6, 1, 10, 1),
    formerrOpt,
  ],
  ["65,535 of each, and an OPT", patched(withOpt, 6, 65_535, 8, 65_535, 10, 65_535), formerrOpt],
  ["an authority in a question is FORMERR", patched(plain, 8, 1), formerr],
  ["octets behind the question are FORMERR", Buffer.concat([plain, Buffer.of(0)]), formerr],
  ["octets behind OPT are FORMERR", Buffer.concat([withOpt, Buffer.of(0)]), formerrOpt],
  ["OPT that is longer than the message is FORMERR", patched(withOpt, -2, 1), formerrOpt],
  ["an OPT that no count tells of is octets behind the question", patched(withOpt, 10, 0), formerr],
  ["a question cut in its name is FORMERR", plain.subarray(0, 20), unreadable],
  ["a question without its class is FORMERR", plain.subarray(0, -2), unreadable],
  ["a pointer in the question is FORMERR", Buffer.concat([plain.subarray(0, 12), Buffer.of(0xc0, 12, 0, 1, 0, 1)]), unreadable],
  [
    "a label of 64 octets is FORMERR",
    Buffer.concat([plain.subarray(0, 12), Buffer.of(64), Buffer.alloc(64, 97), Buffer.of(0, 0, 1, 0, 1)]),
    unreadable,
  ],
  [
    "a name of 64 labels of 4 octets is FORMERR",
    Buffer.concat([plain.subarray(0, 12), Buffer.from("\x03aaa".repeat(64)), Buffer.of(0, 0, 1, 0, 1)]),
    unreadable,
  ],
  [
    "a name of 64 labels that is not too long is a name",
    encodeQuestion({ name: deep(64), type: 1, id: ID }),
    {
      udp: `7 aa rd ra NXDOMAIN | ${Z} ≤512`,
    },
  ],
  [
    "one of 122, as long as a name may be, too",
    encodeQuestion({ name: deep(122), type: 1, id: ID }),
    { udp: `7 aa rd ra NXDOMAIN | ${Z} ≤512` },
  ],
  ["an additional record that is not there is FORMERR", patched(plain, 10, 1), formerr],
  ["two OPT are FORMERR", tail(withOpt, 2, opt), formerrOpt],
  ["an OPT behind a record that is cut is not seen", tail(plain, 2, Buffer.of(0, 0, 16, 0, 1, 0, 0, 0, 0, 0xff, 0xff), opt), formerr],
  ["OPT with a name is FORMERR", tail(plain, 1, Buffer.of(1, 97), opt), formerr],
  ["EDNS version 1 is BADVERS", patched(withOpt, -6, 0x0001), { udp: "7 rd ra EXTENDED16 OPT ≤512" }],
  ["an option that nobody knows is no matter", tail(plain, 1, patched(opt, 9, 8), Buffer.from("fde9000401020304", "hex")), foundOpt],
  ["DO is taken, there is no DNSSEC here", patched(withOpt, -4, 0x8000), foundOpt],
  ["another additional record is no matter", tail(plain, 1, Buffer.concat([Buffer.of(0, 0, 16, 0, 1), Buffer.alloc(6)])), found],
  ["class CH is refused", patched(plain, -2, 3), refused],
  ["class ANY is refused", patched(plain, -2, 255), refused],
  ["version.bind is refused", encodeQuestionCh("version.bind"), refused],
  ["AXFR is refused", patched(plain, -4, 252), refused],
  ["IXFR is refused", patched(plain, -4, 251), refused],
  ["with OPT, too", patched(withOpt, -15, 251), { udp: "7 rd ra REFUSED OPT ≤512" }],
  ["RD is copied when it is not set", patched(plain, 2, 0), { udp: "7 aa ra NOERROR A×1 ≤512" }],
  ["AD is not set by us", patched(plain, 2, 0x0120), found],
  ["a dot in a label is another name", encodeQuestion({ name: dotted(), type: 1, id: ID }), { udp: `7 aa rd ra NXDOMAIN | ${Z} ≤512` }],
  ["so is a NUL", encodeQuestion({ name: label("we\0"), type: 1, id: ID }), { udp: `7 aa rd ra NXDOMAIN | ${Z} ≤512` }],
  ["and what is no UTF-8", encodeQuestion({ name: label("\xff\xc0b"), type: 1, id: ID }), { udp: `7 aa rd ra NXDOMAIN | ${Z} ≤512` }],
  [
    "200 addresses without EDNS: as many as 512 octets hold, and all over TCP",
    encodeQuestion({ name: many, type: 1, id: ID }),
    { udp: "7 aa tc rd ra NOERROR A×29 ≤512", tcp: "7 aa rd ra NOERROR A×200 >1232" },
  ],
  [
    "with EDNS: as many as the client takes",
    encodeQuestion({ name: many, type: 1, id: ID, udpOctets: 700 }),
    { udp: "7 aa tc rd ra NOERROR A×40 OPT ≤1232", tcp: "7 aa rd ra NOERROR A×200 OPT >1232" },
  ],
  [
    "however much it takes, 1,232 octets",
    encodeQuestion({ name: many, type: 1, id: ID, udpOctets: 65_535 }),
    { udp: "7 aa tc rd ra NOERROR A×73 OPT ≤1232", tcp: "7 aa rd ra NOERROR A×200 OPT >1232" },
  ],
  [
    "however little, 512",
    encodeQuestion({ name: many, type: 1, id: ID, udpOctets: 0 }),
    { udp: "7 aa tc rd ra NOERROR A×28 OPT ≤512", tcp: "7 aa rd ra NOERROR A×200 OPT >1232" },
  ],
];

function encodeQuestionCh(text: string): Buffer {
  return patched(encodeQuestion({ name: wireName(text), type: 16, id: ID }), -2, 3);
}

/** Of so many labels, in our domain. */
function deep(labels: number): Buffer {
  return Buffer.concat([Buffer.from("\x01a".repeat(labels - 2)), wireName(Z)]);
}

function dotted(): Buffer {
  return Buffer.concat([Buffer.from("\x0bweb.default", "latin1"), wireName(`svc.${Z}`)]);
}

function label(text: string): Buffer {
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text, "latin1"), wireName(`default.svc.${Z}`)]);
}
