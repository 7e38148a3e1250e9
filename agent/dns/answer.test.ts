import { Packet } from "dns2";
import { describe, expect, test } from "vitest";
import type { DnsChange, DnsRecord } from "#agent/compile/dns-records.ts";
import { answerQuery } from "./answer.ts";
import { encodeQuestion } from "./encode-question.ts";
import { keyOfName, wireOfKey } from "./name.ts";
import { readQuery } from "./query.ts";
import { writeReply } from "./reply.ts";
import type { Transport } from "./reply.ts";
import { ZoneIndex } from "./zone.ts";

const Z = "cluster.local";
const web = `web.default.svc.${Z}`;
const pods = `pods.default.svc.${Z}`;
const service = (key: string, records: readonly DnsRecord[]): DnsChange => ({ source: `service ${key}`, records, names: [] });
const alias = (name: string, target: string): DnsChange =>
  service(`default/${name}`, [{ name: `${name}.default.svc.${Z}`, type: "CNAME", target }]);

const changes: readonly DnsChange[] = [
  { source: "namespace default", records: [], names: [`default.svc.${Z}`, `default.pod.${Z}`] },
  { source: "namespace empty", records: [], names: [`empty.svc.${Z}`, `empty.pod.${Z}`] },
  service("default/web", [
    { name: web, type: "A", address: "10.96.0.7" },
    { name: `_http._tcp.${web}`, type: "SRV", weight: 100, port: 80, target: web },
    { name: "7.0.96.10.in-addr.arpa", type: "PTR", of: "virtual-ip", target: web },
  ]),
  service("default/pods", [
    { name: pods, type: "A", address: "192.168.56.11" },
    { name: pods, type: "A", address: "192.168.56.12" },
    { name: `a.${pods}`, type: "A", address: "192.168.56.11" },
    { name: "11.56.168.192.in-addr.arpa", type: "PTR", of: "endpoint", target: `a.${pods}` },
    { name: "7.0.96.10.in-addr.arpa", type: "PTR", of: "endpoint", target: `a.${pods}` },
  ]),
  service("default/six", [{ name: `six.default.svc.${Z}`, type: "AAAA", address: "fd00::ffff:7" }]),
  alias("inside", web),
  alias("outside", "db.example.com"),
  alias("nowhere", `missing.default.svc.${Z}`),
  alias("round", `trip.default.svc.${Z}`),
  alias("trip", `round.default.svc.${Z}`),
];

function zoneOf(synced: boolean, of: readonly DnsChange[] = changes): ZoneIndex {
  const zone = new ZoneIndex({ domain: Z, serviceCidrs: ["10.96.0.0/16"], dnsIps: ["10.96.0.10"] }, 1);
  zone.apply(of, { all: true, synced, serial: 2 });
  return zone;
}

const RCODES: Readonly<Record<number, string>> = { 0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED" };
const HINFO = 13;

interface Asked {
  readonly zone?: ZoneIndex;
  readonly transport?: Transport;
  readonly udpOctets?: number;
}

function replyTo(name: string, type: number, { zone = zoneOf(true), transport = "udp", udpOctets = 1232 }: Asked = {}): Buffer | string {
  const wire = Buffer.from(
    `${name
      .split(".")
      .map((label) => String.fromCharCode(label.length) + label)
      .join("")}\0`,
    "latin1",
  );
  const reading = readQuery(encodeQuestion({ name: wire, type, id: 0x1234, udpOctets }));
  if (reading.kind !== "query") throw new Error(reading.kind);
  const outcome = answerQuery(reading.query, zone, () => 0.5);
  return outcome.kind === "answer" ? writeReply(reading.query, outcome.answer, transport) : outcome.kind;
}

/** `RCODE answers… | authority…`, decoded by dns2, which wrote none of the structure. */
function ask(name: string, type: keyof typeof Packet.TYPE | number, asked: Asked = {}): string {
  const reply = replyTo(name, typeof type === "number" ? type : Packet.TYPE[type], asked);
  if (typeof reply === "string") return reply;
  const { header, answers, authorities, errors } = Packet.parse(reply);
  expect(errors).toEqual([]);
  const text = (records: typeof answers): string[] =>
    records
      .map((r) => `${Packet.TYPE_NAME[r.type] ?? r.type} ${r.address ?? r.domain ?? r.ns ?? r.target ?? r.primary ?? String(r.data)}`)
      .toSorted();
  return [
    RCODES[header.rcode] ?? header.rcode,
    ...text(answers),
    ...(authorities.length > 0 ? ["|", ...authorities.map((r) => `SOA ${r.name}`)] : []),
  ].join(" ");
}

describe("answers", () => {
  test.for([
    ["a virtual IP", web, "A", "NOERROR A 10.96.0.7"],
    ["letters of any case", "WEB.Default.SVC.cluster.LOCAL", "A", "NOERROR A 10.96.0.7"],
    ["the other family is NODATA", web, "AAAA", `NOERROR | SOA ${Z}`],
    ["so is every other type", web, "TXT", `NOERROR | SOA ${Z}`],
    ["and one that nobody knows", web, 65, `NOERROR | SOA ${Z}`],
    ["SOA below the apex is NODATA", web, "SOA", `NOERROR | SOA ${Z}`],
    ["an IPv6 address", `six.default.svc.${Z}`, "AAAA", "NOERROR AAAA fd00::ffff:7"],
    ["a named port", `_http._tcp.${web}`, "SRV", `NOERROR SRV ${web}`],
    ["port and protocol in capitals", `_HTTP._TCP.${web}`, "SRV", `NOERROR SRV ${web}`],
    ["an unknown port", `_ftp._tcp.${web}`, "SRV", `NXDOMAIN | SOA ${Z}`],
    ["another protocol", `_http._udp.${web}`, "SRV", `NXDOMAIN | SOA ${Z}`],
    ["a protocol with ports exists", `_tcp.${web}`, "SRV", `NOERROR | SOA ${Z}`],
    ["all addresses of a headless service", pods, "A", "NOERROR A 192.168.56.11 A 192.168.56.12"],
    ["an endpoint by its host name", `a.${pods}`, "A", "NOERROR A 192.168.56.11"],
    ["an unknown endpoint", `b.${pods}`, "A", `NXDOMAIN | SOA ${Z}`],
    ["an unknown service", `nope.default.svc.${Z}`, "A", `NXDOMAIN | SOA ${Z}`],
    ["an unknown namespace", `web.nope.svc.${Z}`, "A", `NXDOMAIN | SOA ${Z}`],
    ["too many labels", `x.y.z.${web}`, "A", `NXDOMAIN | SOA ${Z}`],
    ["a namespace exists", `default.svc.${Z}`, "A", `NOERROR | SOA ${Z}`],
    ["also an empty one", `empty.svc.${Z}`, "A", `NOERROR | SOA ${Z}`],
    ["and below pod", `default.pod.${Z}`, "A", `NOERROR | SOA ${Z}`],
    ["pods by address are not served", `10-0-0-1.default.pod.${Z}`, "A", `NXDOMAIN | SOA ${Z}`],
    ["svc exists", `svc.${Z}`, "A", `NOERROR | SOA ${Z}`],
    ["pod exists", `pod.${Z}`, "A", `NOERROR | SOA ${Z}`],
    ["so does node", `node.${Z}`, "A", `NOERROR | SOA ${Z}`],
    ["other first labels do not", `nodes.${Z}`, "A", `NXDOMAIN | SOA ${Z}`],
    ["the apex exists", Z, "A", `NOERROR | SOA ${Z}`],
    ["SOA of the apex", Z, "SOA", `NOERROR SOA ns.dns.${Z}`],
    ["NS of the apex", Z, "NS", `NOERROR NS ns.dns.${Z}`],
    ["the name server's address", `ns.dns.${Z}`, "A", "NOERROR A 10.96.0.10"],
    ["the schema's version", `dns-version.${Z}`, "TXT", "NOERROR TXT 1.1.0"],
    ["a virtual IP's name, which wins over an endpoint's", "7.0.96.10.in-addr.arpa", "PTR", `NOERROR PTR ${web}`],
    ["a free virtual IP", "8.0.96.10.in-addr.arpa", "PTR", "NXDOMAIN | SOA 96.10.in-addr.arpa"],
    ["between range and address", "0.96.10.in-addr.arpa", "PTR", "NOERROR | SOA 96.10.in-addr.arpa"],
    ["an endpoint's name outside the range", "11.56.168.192.in-addr.arpa", "PTR", `NOERROR PTR a.${pods}`],
    ["which has nothing else", "11.56.168.192.in-addr.arpa", "TXT", "NOERROR | SOA 11.56.168.192.in-addr.arpa"],
    ["what is above it is for others to say", "56.168.192.in-addr.arpa", "PTR", "forward"],
    ["NS of the range", "96.10.in-addr.arpa", "NS", `NOERROR NS ns.dns.${Z}`],
    ["another address outside the range", "99.56.168.192.in-addr.arpa", "PTR", "forward"],
    ["a range next to ours", "1.0.97.10.in-addr.arpa", "PTR", "forward"],
    ["any other name", "www.example.com", "A", "forward"],
    ["a name that ends alike", `xcluster.local`, "A", "forward"],
    ["a label that holds our suffix's bytes", "x\x07cluster", "A", "forward"],
    ["an alias inside the domain", `inside.default.svc.${Z}`, "A", `NOERROR A 10.96.0.7 CNAME ${web}`],
    ["its other family", `inside.default.svc.${Z}`, "AAAA", `NOERROR CNAME ${web} | SOA ${Z}`],
    ["the alias itself", `inside.default.svc.${Z}`, "CNAME", `NOERROR CNAME ${web}`],
    ["other types get the alias", `inside.default.svc.${Z}`, "TXT", `NOERROR CNAME ${web}`],
    ["an alias to nothing", `nowhere.default.svc.${Z}`, "A", `NXDOMAIN CNAME missing.default.svc.${Z} | SOA ${Z}`],
    ["an alias to elsewhere", `outside.default.svc.${Z}`, "A", "follow"],
    ["nothing is below an alias", `x.outside.default.svc.${Z}`, "A", `NXDOMAIN | SOA ${Z}`],
  ] as const)("%s", ([, name, type, want]) => {
    expect(ask(name, type)).toBe(want);
  });

  test("aliases in a circle end", () => {
    expect(ask(`round.default.svc.${Z}`, "A")).toMatch(/^SERVFAIL CNAME/);
  });

  test("ANY gets one record that says no", () => {
    expect(ask(web, "ANY")).toMatch(new RegExp(`^NOERROR ${HINFO} |^NOERROR HINFO `));
  });

  test("before the state is complete a known name is answered, and a missing one is SERVFAIL, never NXDOMAIN", () => {
    const zone = zoneOf(false);
    expect(ask(web, "A", { zone })).toBe("NOERROR A 10.96.0.7");
    expect(ask(web, "AAAA", { zone })).toBe(`NOERROR | SOA ${Z}`);
    expect(ask(`nope.default.svc.${Z}`, "A", { zone })).toBe("SERVFAIL");
  });
});

describe("messages", () => {
  test("the question's case is repeated, also in owners and in the SOA", () => {
    const name = `WeB.deFAULT.svc.CLUSTER.local`;
    const found = Packet.parse(Buffer.from(replyTo(name, 1)));
    expect([found.questions[0]?.name, found.answers[0]?.name]).toEqual([name, name]);
    expect(Packet.parse(Buffer.from(replyTo(name, 28))).authorities[0]?.name).toBe("CLUSTER.local");
  });

  const many = zoneOf(true, [
    service(
      "default/many",
      Array.from({ length: 200 }, (_, i) => ({ name: `many.default.svc.${Z}`, type: "A", address: `10.0.0.${i + 1}` }) as const),
    ),
  ]);

  test.for([
    ["512 octets without EDNS", "udp", undefined, 512],
    ["what the client says", "udp", 700, 700],
    ["1,232 octets however much it says", "udp", 65_535, 1232],
    ["no less than 512", "udp", 16, 512],
  ] as const)("an answer over UDP is cut at whole records: %s", ([, transport, udpOctets, limit]) => {
    const wire = wireOfKey(keyOfName(`many.default.svc.${Z}`) ?? "");
    const reading = readQuery(encodeQuestion({ name: wire, type: 1, ...(udpOctets !== undefined && { udpOctets }) }));
    if (reading.kind !== "query") throw new Error(reading.kind);
    const outcome = answerQuery(reading.query, many, Math.random);
    if (outcome.kind !== "answer") throw new Error(outcome.kind);
    const message = writeReply(reading.query, outcome.answer, transport);
    const found = Packet.parse(message);
    expect(found.errors).toEqual([]);
    expect(found.header.tc).toBe(1);
    expect(message.length).toBeLessThanOrEqual(limit);
    expect(message.length).toBeGreaterThan(limit - 16);
    expect(found.additionals.length).toBe(udpOctets === undefined ? 0 : 1);
  });

  test.for([
    ["by weight", { weight: 3 }, { weight: 1 }, 0.75],
    ["never one of weight 0", { weight: 1 }, { weight: 0 }, 1],
    ["those in the zone always", { isNear: true }, { isNear: false }, 1],
    ["any, where nothing is said", {}, {}, 0.5],
  ] as const)("who comes first: %s", ([, first, second, share]) => {
    const name = `order.default.svc.${Z}`;
    const records: DnsRecord[] = [
      { name, type: "A", address: "10.0.0.2", ...second },
      { name, type: "A", address: "10.0.0.1", ...first },
    ];
    const zone = zoneOf(true, [service("default/order", records)]);
    const reading = readQuery(encodeQuestion({ name: wireOfKey(keyOfName(name) ?? ""), type: 1 }));
    if (reading.kind !== "query") throw new Error(reading.kind);
    let ones = 0;
    for (let i = 0; i < 100; i++) {
      const outcome = answerQuery(reading.query, zone, () => (i % 100) / 100);
      if (outcome.kind !== "answer") throw new Error(outcome.kind);
      const addresses = outcome.answer.answers.map((record) => record.at(-1));
      expect(addresses.toSorted()).toEqual([1, 2]); // the other is there, too
      if (addresses[0] === 1) ones++;
    }
    expect(ones / 100).toBeCloseTo(share, 1);
  });

  test("over TCP nothing is cut", () => {
    const found = Packet.parse(Buffer.from(replyTo(`many.default.svc.${Z}`, 1, { zone: many, transport: "tcp" })));
    expect([found.header.tc, found.answers.length]).toEqual([0, 200]);
  });

  test("each answer of a headless service starts with another address", () => {
    const firsts = new Set<string | undefined>();
    const zone = zoneOf(true);
    const reading = readQuery(encodeQuestion({ name: wireOfKey(keyOfName(pods) ?? ""), type: 1 }));
    if (reading.kind !== "query") throw new Error(reading.kind);
    for (let i = 0; i < 64; i++) {
      const outcome = answerQuery(reading.query, zone, Math.random);
      if (outcome.kind === "answer") firsts.add(Packet.parse(writeReply(reading.query, outcome.answer, "udp")).answers[0]?.address);
    }
    expect(firsts.size).toBe(2);
  });
});
