import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { encodeQuestion } from "#agent/dns/encode-question.ts";
import type { ListenAddress } from "#agent/dns/listen.ts";
import { createDnsResponder, type ResponderFacts } from "#agent/dns/responder.ts";
import type { Upstream } from "#agent/dns/upstream-udp.ts";
import { askTcp, askUdp } from "#test/dns/client.ts";
import { decodeReply } from "#test/dns/decode.ts";
import { protocolRows } from "#test/dns/protocol-rows.ts";
import { questions } from "#test/dns/questions.ts";
import { dnsWorld, FACTS, Z } from "#test/dns/world.ts";

// The table of questions and answers, over real UDP and TCP, read by dns-packet.

const ending = new AbortController();
const running: Promise<void>[] = [];
let at: ListenAddress = { address: "", port: 0 };

async function start(
  changes: readonly DnsChange[],
  facts: Partial<ResponderFacts>,
  upstreams: readonly Upstream[],
): Promise<ListenAddress> {
  const listen = [{ address: "127.0.0.1", port: 0 }];
  const responder = createDnsResponder({ ...FACTS, ...facts, listen, allowedSources: [], upstreams, log: pino({ level: "silent" }) });
  responder.apply(changes, { revision: 1, synced: true, all: true });
  running.push(responder.run(ending.signal));
  const [bound] = await responder.listening();
  if (!bound) throw new Error("not bound");
  return bound;
}

beforeAll(async () => {
  const www: DnsChange = { source: "www", names: [], records: [{ name: "www.upstream.test", type: "A", address: "198.51.100.7" }] };
  const upstream = await start([www], { domain: "upstream.test", serviceCidrs: [] }, []);
  at = await start(dnsWorld(), {}, [upstream]);
});
afterAll(async () => {
  ending.abort();
  await Promise.all(running);
});

const TYPES: Readonly<Record<string, number>> = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  HTTPS: 65,
  ANY: 255,
};

/** A question as written in the table; the name's case is kept. */
function messageOf(question: string, id: number, udpOctets: number | undefined): Buffer {
  const [name = "", type = ""] = question.split(" ");
  const full = name.endsWith(".") ? name.slice(0, -1) : `${name}.${Z}`;
  const labels = full.split(".").map((label) => String.fromCharCode(label.length) + label);
  const wire = Buffer.from(`${labels.join("")}\0`, "latin1");
  return encodeQuestion({ name: wire, type: TYPES[type] ?? Number(type.slice(4)), id, ...(udpOctets !== undefined && { udpOctets }) });
}

let asked = 0;
describe.for(Object.entries(questions))("%s", ([, rows]) => {
  test.for(rows)("%s: %s", async ([, question, answer]) => {
    for (const udpOctets of [undefined, 1232]) {
      const message = messageOf(question, 0x1000 + asked++, udpOctets);
      const end = message.length - (udpOctets === undefined ? 0 : 11);
      for (const reply of [await askUdp(at, message), await askTcp(at, message)]) {
        if (!reply) throw new Error("no answer over UDP");
        const decoded = decodeReply(reply);
        expect(decoded.text).toBe(answer);
        expect(decoded.id).toBe(message.readUInt16BE(0));
        expect(reply.subarray(12, end)).toEqual(message.subarray(12, end)); // byte for byte, with its case
        expect(decoded.hasOpt).toBe(udpOctets !== undefined);
        expect(decoded.flags).toMatch(isElsewhere(question) ? /^(aa )?rd ra$/ : /^aa rd ra$/);
      }
    }
  });
});

function isElsewhere(question: string): boolean {
  if (/(168\.192\.in-addr|d\.f\.ip6)\.arpa\. /.test(question)) return true; // of private addresses: said on behalf of nobody
  return /\.upstream\.test\. |(^|\.)local\. /.test(question) && !/(^|\.)cluster\.local\. /.test(question);
}

describe("the protocol", () => {
  test.for(protocolRows)("%s", async ([, message, { udp, tcp = udp }]) => {
    const overUdp = await askUdp(at, message, udp === undefined ? 300 : undefined);
    expect(overUdp && read(overUdp)).toEqual(udp);
    if (tcp === undefined) return;
    expect(read(await askTcp(at, message))).toEqual(tcp);
  });
});

function read(reply: Buffer) {
  const { id, flags, text, answers, hasOpt, questions: repeated } = decodeReply(reply);
  return `${id} ${flags} ${text.replace(/( A \S+)+/, ` A×${answers}`)}${hasOpt ? " OPT" : ""}${repeated.length === 0 ? " no question" : ""} ${reply.length <= 512 ? "≤512" : reply.length <= 1232 ? "≤1232" : ">1232"}`;
}

test("the table has at least 120 questions", () => {
  const count = Object.values(questions).reduce((sum, rows) => sum + rows.length, 0);
  console.error(`${count} questions × with and without EDNS × UDP and TCP, ${protocolRows.length} messages of the protocol`);
  expect(count).toBeGreaterThanOrEqual(120);
});
