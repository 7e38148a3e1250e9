import { createSocket } from "node:dgram";
import { once } from "node:events";
import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeQuestion } from "#agent/dns/encode-question.ts";
import { createDnsMembers, type DnsMembers } from "#agent/dns/members.ts";
import type { StubDomain } from "#agent/dns/stub-domains.ts";
import { wireName } from "#test/dns-messages.ts";
import { freePort } from "#test/free-port.ts";
import { waitFor } from "#test/wait-for.ts";
import { dig, startDnsmasq, startUnbound, type Server } from "./dns-servers.ts";

// Real name servers as upstreams: what they say directly is what they say through us.

const Z = "cluster.local";
const web = `web.default.svc.${Z}`;

async function startMembers(
  upstreams: readonly Server[],
  options: { members?: number; port?: number; stubs?: readonly StubDomain[] } = {},
): Promise<{ members: DnsMembers; at: Server }> {
  const record = { name: web, type: "A", address: "10.96.0.7" } as const;
  const out = { name: `out.default.svc.${Z}`, type: "CNAME", target: "www.test" } as const;
  const everything = [record, out].map((each) => ({ source: each.name, records: [each], names: [] }));
  const members = createDnsMembers({
    members: options.members ?? 1,
    everything: () => everything,
    listen: [{ address: "127.0.0.1", port: options.port ?? (await freePort()) }],
    domain: Z,
    serviceCidrs: ["10.96.0.0/16"],
    dnsIps: ["10.96.0.10"],
    allowedSources: [],
    upstreams,
    stubs: options.stubs,
    log: pino({ level: "silent" }),
  });
  members.apply([], { revision: 1, synced: true, all: true });
  const stop = new AbortController();
  const running = members.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await running;
  });
  const [at] = await members.listening();
  if (!at) throw new Error("not bound");
  return { members, at };
}

/** What of dig's words is the answer: not the id, how long it took, or who was asked. Records of one kind may come in any order. */
function said(text: string): string[] {
  const lines = text.split("\n").filter((line) => !/^;; (Query time|SERVER|WHEN|MSG SIZE)|^; <<>>|^;; global/.test(line));
  return lines
    .map((line) =>
      line
        .replace(/, id: \d+/, "")
        .replace(/\s+/g, " ")
        .trim(),
    )
    .filter((line) => line !== "")
    .toSorted();
}

/** Of a copy that was kept: TTLs may be older, it is not authoritative, and OPT is ours. Of what was cut: that it was; each server has its own way of cutting. */
function saidAgain(text: string): string[] {
  if (/flags:[^;]* tc[ ;]/.test(text))
    return ["cut", ...said(text).filter((line) => /status:|^;\S/.test(line))].filter((line) => !/ANSWER|flags|OPT/.test(line));
  return said(text.replace(/ aa(?=[ ;])/, ""))
    .filter((line) => !/^; (EDNS|COOKIE|NSID|CLIENT-SUBNET|OPT)|^;; OPT/.test(line))
    .map((line) => line.replace(/^([^; ]+) \d+ IN/, "$1 IN"));
}

const questions: readonly (readonly string[])[] = [
  ["www.test", "A"],
  ["www.test", "AAAA"],
  ["WwW.tEsT", "A"],
  ["www.test", "TXT"],
  ["www.test", "HTTPS"],
  ["www.test", "SOA"],
  ["alias.test", "A"],
  ["alias.test", "CNAME"],
  ["alias2.test", "AAAA"],
  ["mx.test", "MX"],
  ["_http._tcp.test", "SRV"],
  ["txt.test", "TXT"],
  ["long.test", "TXT"],
  ["naptr.test", "NAPTR"],
  ["caa.test", "CAA"],
  ["odd.test", "TYPE65280"],
  ["https.test", "HTTPS"],
  ["nope.test", "A"],
  ["a.b.c.nope.test", "AAAA"],
  ["www.test", "NS"],
  ["big.test", "A"],
  ["big.test", "A", "+noedns", "+ignore"],
  ["big.test", "A", "+bufsize=512", "+ignore"],
  ["big.test", "A", "+tcp"],
  ["huge.test", "A"],
  ["huge.test", "A", "+ignore", "+bufsize=1232"],
  ["huge.test", "A", "+tcp"],
  ["www.test", "A", "+noedns"],
  ["www.test", "A", "+dnssec"],
  ["www.test", "A", "+cd"],
  ["www.test", "A", "+adflag"],
  ["www.test", "A", "+norecurse"],
  ["www.test", "A", "+cookie=0123456789abcdef"],
  ["www.test", "A", "+subnet=192.0.2.0/24"],
  ["www.test", "A", "+nsid"],
  ["www.test", "A", "+ednsopt=65001:abcd"],
  ["www.test", "A", "+padding=128"],
  ["www.test", "ANY", "+notcp"],
];
const servers = [
  ["dnsmasq", () => startDnsmasq()],
  ["unbound", () => startUnbound()],
] as const;

describe.for(servers)("%s", ([, startServer]) => {
  test("says the same through us, the first time and out of the cache", { timeout: 120_000 }, async () => {
    const server = await startServer();
    const { at, members } = await startMembers([server]);
    const differences: unknown[] = [];
    let compared = 0;
    const compare = async (question: readonly string[]): Promise<void> => {
      const direct = await dig(server, ...question);
      const first = await dig(at, ...question);
      const second = await dig(at, ...question);
      const same = (a: readonly string[], b: readonly string[]): boolean => a.join("\n") === b.join("\n");
      if (!same(saidAgain(direct), saidAgain(first))) differences.push({ question, direct: saidAgain(direct), first: saidAgain(first) });
      if (!same(saidAgain(direct), saidAgain(second))) differences.push({ question, direct: saidAgain(direct), second: saidAgain(second) });
      compared++;
    };
    for (let i = 0; i < questions.length; i += 6) await Promise.all(questions.slice(i, i + 6).map(compare));
    expect(differences).toEqual([]);
    expect(compared).toBe(questions.length);
    await waitFor(() => members.stats().forwarding.hits > 20, { what: "the count of what came from the cache" });
  });

  test("is relayed octet for octet but for the id, whatever the question's OPT holds", async () => {
    const server = await startServer();
    const { at } = await startMembers([server]);
    // TYPE65280, and an OPT with an option that nobody knows: neither is in any program of ours.
    for (const [name, type] of [
      ["www.test", 1],
      ["odd.test", 65_280],
      ["long.test", 16],
      ["nope.test", 28],
    ] as const) {
      const query = Buffer.concat([
        encodeQuestion({ name: wireName(name), type, id: 0x1234 }),
        Buffer.from("000029040000000000" + "0006" + "fde90002abcd", "hex"),
      ]);
      query.writeUInt16BE(1, 10);
      const direct = await exchange(server, query);
      const relayed = await exchange(at, query);
      expect(relayed.toString("hex")).toBe(direct.toString("hex"));
    }
  });

  test("is what an ExternalName leads to", async () => {
    const { at } = await startMembers([await startServer()]);
    expect(await dig(at, "+short", `out.default.svc.${Z}`)).toBe("www.test.\n192.0.2.1");
    expect(await dig(at, "+short", "AAAA", `out.default.svc.${Z}`)).toBe("www.test.\n2001:db8::1");
  });
});

test("a stub domain's names are asked of its server, on a host that has no other", async () => {
  const { at } = await startMembers([], { stubs: [{ suffix: "test", servers: [await startDnsmasq()] }] });
  expect(await dig(at, "+short", "www.test")).toBe("192.0.2.1");
  expect(await dig(at, "www.example.com")).toMatch(/status: SERVFAIL[^]*EDE: 22/);
});

test.for([1, 2])("dnsmasq that asks us is found out, with %d threads, and our names are answered", { timeout: 60_000 }, async (count) => {
  const port = await freePort();
  const server = await startDnsmasq([`server=127.0.0.1#${port}`]);
  const { members, at } = await startMembers([server], { members: count, port });
  await waitFor(() => members.problems().some((line) => line.includes("leads back")), { what: "the loop to be seen", timeoutMs: 10_000 });
  await waitFor(() => members.stats().forwarding.upstreams[0]?.state === "looping", { what: "the metric" });
  expect(await dig(at, "www.example.com")).toMatch(/status: (SERVFAIL|REFUSED)/);
  expect(await dig(at, "+short", web)).toBe("10.96.0.7");
});

async function exchange({ address, port }: Server, query: Buffer): Promise<Buffer> {
  const socket = createSocket("udp4");
  try {
    const replied = once(socket, "message", { signal: AbortSignal.timeout(6000) });
    socket.send(query, port, address);
    const [message] = (await replied) as [Buffer];
    return message;
  } finally {
    socket.close();
  }
}
