import fc from "fast-check";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeQuestion } from "#agent/dns/encode-question.ts";
import { FLAG, HEADER_OCTETS, RCODE, TYPE } from "#agent/dns/protocol.ts";
import { decodeReply } from "#test/dns/decode.ts";
import { A, CNAME, replyTo, SOA, wireName } from "#test/dns-messages.ts";
import { freePort } from "#test/free-port.ts";
import { waitFor } from "#test/wait-for.ts";
import { ask, startResponder, startUpstream, Z, type Answer, type Behaviour } from "./dns-world.ts";

// Names of others, asked of upstreams that are cut off, slow, forging, going in circles, or talking rubbish.

const web = `web.default.svc.${Z}`;
const ours = [
  { source: "web", records: [{ name: web, type: "A", address: "10.96.0.7" } as const], names: [] },
  { source: "out", records: [{ name: `out.default.svc.${Z}`, type: "CNAME", target: "www.example.com" } as const], names: [] },
];
const OK = FLAG.QR | FLAG.RA;

const answers =
  (address: string, ttl = 60): Behaviour =>
  (query, send) =>
    send(replyTo(query, { answers: [A(address, ttl)] }));
const fails =
  (rcode: number): Behaviour =>
  (query, send) =>
    send(replyTo(query, { flags: OK | rcode }));
const silent: Behaviour = () => undefined;

/** A member that is asked meanwhile: half of the answers for our own names come within 20 ms, whatever this machine has to do besides. */
async function expectLocalNamesPrompt(at: { address: string; port: number }): Promise<void> {
  const took: number[] = [];
  for (let i = 0; i < 50; i++) {
    const { addresses, tookMs } = await ask(at, { name: web });
    expect(addresses).toEqual(["10.96.0.7"]);
    took.push(tookMs);
  }
  expect(took.toSorted((a, b) => a - b)[25]).toBeLessThan(20);
}

/** With pauses, so that no socket's buffer overflows. */
async function askMany(at: { address: string; port: number }, count: number): Promise<Promise<Answer>[]> {
  const waiting: Promise<Answer>[] = [];
  for (let i = 0; i < count; i++) {
    waiting.push(ask(at, { name: `n${i}.example.com` }));
    if (i % 50 === 49) await ask(at, { name: web });
  }
  return waiting;
}

describe("replies", () => {
  test("that are forged are ignored, and the true one is still taken", async () => {
    const upstream = await startUpstream((query, send, _transport, port) => {
      const forged = replyTo(query, { answers: [A("203.0.113.66", 60)] });
      const spoil = (edit: (copy: Buffer) => void): Buffer => {
        const copy = Buffer.from(forged);
        edit(copy);
        return copy;
      };
      send(spoil((copy) => copy.writeUInt16BE(copy.readUInt16BE(0) ^ 1, 0)));
      send(spoil((copy) => (copy[HEADER_OCTETS + 1] = (copy[HEADER_OCTETS + 1] ?? 0) ^ 1)));
      send(spoil((copy) => (copy[HEADER_OCTETS + 1] = (copy[HEADER_OCTETS + 1] ?? 0) ^ 0x20))); // the case of a letter
      send(spoil((copy) => copy.writeUInt16BE(0x0100, 2))); // no reply
      send(spoil((copy) => copy.writeUInt16BE(2, 4))); // two questions
      send(Buffer.alloc(3));
      const elsewhere = createSocket("udp4");
      elsewhere.send(forged, port, "127.0.0.1", () => elsewhere.close());
      setTimeout(() => send(replyTo(query, { answers: [A("192.0.2.1", 60)] })), 300);
    });
    const { at } = await startResponder(ours, { upstreams: [upstream.at] });
    expect(await ask(at, { name: "www.example.com" })).toMatchObject({ rcode: RCODE.NOERROR, addresses: ["192.0.2.1"] });
  });

  test("come to random ids and to 32 random ports", async () => {
    const upstream = await startUpstream(answers("192.0.2.1"));
    const { at } = await startResponder(ours, { upstreams: [upstream.at] });
    await Promise.all(await askMany(at, 300));
    const ids = upstream.asked.map(({ id }) => id);
    const ports = new Set(upstream.asked.map(({ port }) => port));
    expect(ids).toHaveLength(300);
    expect(new Set(ids).size).toBeGreaterThan(280);
    expect(ports.size).toBeGreaterThan(25);
    expect(ports.size).toBeLessThanOrEqual(32);
    const steps = ids.slice(1).map((id, i) => id - (ids[i] ?? 0));
    expect(new Set(steps).size).toBeGreaterThan(280); // no counter
  });

  test("that cannot be read do not count: the next upstream is asked", async () => {
    const rubbish = await startUpstream((query, send) => {
      const reply = replyTo(query, { answers: [A("203.0.113.66", 60)] });
      reply.writeUInt16BE(0xffff, 6);
      send(reply);
      send(Buffer.concat([query.subarray(0, 2), Buffer.of(0x80, 0), Buffer.alloc(60_000, Buffer.of(0xc0, 0x0c))]));
    });
    const good = await startUpstream(answers("192.0.2.1"));
    const { at } = await startResponder(ours, { upstreams: [rubbish.at, good.at] });
    const asking = ask(at, { name: "www.example.com" });
    await expectLocalNamesPrompt(at);
    expect((await asking).addresses).toEqual(["192.0.2.1"]);
  });

  test("of any shape end in something that can be read, or in SERVFAIL, and our names are prompt meanwhile", async () => {
    const shapes = fc.sample(
      fc.record({
        flags: fc.nat(0xffff),
        counts: fc.array(fc.nat(4), { minLength: 3, maxLength: 3 }),
        tail: fc.uint8Array({ maxLength: 200 }),
      }),
      300,
    );
    let next = 0;
    const upstream = await startUpstream((query, send) => {
      const { flags, counts, tail } = shapes[next++ % shapes.length] ?? { flags: 0, counts: [], tail: Buffer.alloc(0) };
      const reply = Buffer.concat([replyTo(query, { flags: flags | FLAG.QR }), tail]);
      for (const [i, count] of counts.entries()) reply.writeUInt16BE(count, 6 + 2 * i);
      send(reply);
    });
    const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
    const asking = await askMany(at, 300);
    await expectLocalNamesPrompt(at);
    const found = await Promise.all(asking); // each could be read to its end
    expect(new Set(found.map(({ rcode }) => rcode)).size).toBeGreaterThan(3);
    expect(next).toBeGreaterThan(450); // what could not be read was asked again
    expect(responder.stats().forwarding.misses).toBe(300);
  });

  test.for([RCODE.SERVFAIL, RCODE.REFUSED])("of rcode %d are the last word only when no upstream has a better one", async (rcode) => {
    const unwilling = await startUpstream(fails(rcode));
    const good = await startUpstream(answers("192.0.2.1"));
    const both = await startResponder(ours, { upstreams: [unwilling.at, good.at] });
    const found = await ask(both.at, { name: "www.example.com" });
    expect(found).toMatchObject({ rcode: RCODE.NOERROR, addresses: ["192.0.2.1"] });
    expect(found.tookMs).toBeLessThan(900); // nobody waited for a time-out
    const alone = await startResponder(ours, { upstreams: [unwilling.at] });
    expect((await ask(alone.at, { name: "www.example.com" })).rcode).toBe(rcode);
    expect(alone.responder.problems()).toEqual([]); // it answers
  });

  test("that were cut are passed on as they are", async () => {
    const upstream = await startUpstream((query, send) => send(replyTo(query, { flags: OK | FLAG.TC, answers: [A("192.0.2.1", 60)] })));
    const { at } = await startResponder(ours, { upstreams: [upstream.at] });
    expect(await ask(at, { name: "www.example.com" })).toMatchObject({ isCut: true, addresses: ["192.0.2.1"] });
    expect(await ask(at, { name: `out.default.svc.${Z}` })).toMatchObject({ isCut: true, addresses: ["192.0.2.1"] });
    expect(upstream.asked).toHaveLength(2); // nothing that was cut is kept
  });
});

describe("the cache", () => {
  test("answers with TTLs that have grown older, in each client's letters, and asks once", async () => {
    const upstream = await startUpstream(answers("192.0.2.1", 60));
    const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
    expect((await ask(at, { name: "www.example.com", id: 7 })).ttl).toBe(60);
    const later = await waitFor(
      async () => {
        const found = await ask(at, { name: "WWW.eXample.com", id: 8 });
        return found.ttl !== undefined && found.ttl < 60 ? found : undefined;
      },
      { what: "an older answer" },
    );
    expect(later.message.readUInt16BE(0)).toBe(8);
    expect(later.message.toString("latin1")).toContain("\x03WWW\x07eXample\x03com");
    expect(later.addresses).toEqual(["192.0.2.1"]);
    expect(upstream.asked).toHaveLength(1);
    expect(responder.stats().forwarding).toMatchObject({ misses: 1, cacheEntries: 1 });
  });

  test("keeps types apart, and questions with DO from those without", async () => {
    const upstream = await startUpstream(answers("192.0.2.1"));
    const { at } = await startResponder(ours, { upstreams: [upstream.at] });
    await ask(at, { name: "www.example.com" });
    await ask(at, { name: "www.example.com", type: TYPE.AAAA });
    await ask(at, { name: "www.example.com", udpOctets: 0 }); // the same question, without EDNS
    expect(upstream.asked.map(({ type }) => type)).toEqual([TYPE.A, TYPE.AAAA]);
  });

  test("never holds names of ours, nor those of a name that is ours", async () => {
    const upstream = await startUpstream(answers("192.0.2.1"));
    const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
    for (const name of [web, `nope.default.svc.${Z}`, `out.default.svc.${Z}`]) await ask(at, { name });
    expect(upstream.asked.map(({ name }) => name)).toEqual(["www.example.com"]);
    expect(responder.stats().forwarding.cacheEntries).toBe(1);
  });

  test("is asked for all who ask the same at once: one question goes out, each gets his own id and letters", async () => {
    const upstream = await startUpstream((query, send) => setTimeout(() => send(replyTo(query, { answers: [A("192.0.2.1", 60)] })), 200));
    const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
    const found = await Promise.all(
      Array.from({ length: 60 }, (_, id) => ask(at, { name: id % 2 === 0 ? "www.example.com" : "www.EXAMPLE.com", id })),
    );
    expect(found.map(({ message }) => message.readUInt16BE(0))).toEqual(Array.from({ length: 60 }, (_, id) => id));
    expect(found.filter(({ message }) => message.toString("latin1").includes("EXAMPLE"))).toHaveLength(30);
    expect(found.every(({ addresses }) => addresses[0] === "192.0.2.1")).toBe(true);
    expect(upstream.asked).toHaveLength(1);
    expect(responder.stats().forwarding).toMatchObject({ misses: 1, merged: 59 });
  });

  test("serves what is stale when no upstream answers, and what is fresh when one does again", async () => {
    const upstream = await startUpstream(answers("192.0.2.1", 1));
    const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
    await ask(at, { name: "www.example.com" });
    upstream.does = silent;
    await sleep(1100); // the life of the reply
    const stale = await ask(at, { name: "www.example.com" });
    expect(stale).toMatchObject({ addresses: ["192.0.2.1"], ttl: 30, ede: 3 });
    expect(stale.tookMs).toBeLessThan(2500); // one attempt
    upstream.does = fails(RCODE.SERVFAIL);
    expect(await ask(at, { name: "www.example.com" })).toMatchObject({ addresses: ["192.0.2.1"], ttl: 30 });
    upstream.does = answers("192.0.2.2", 60);
    await waitFor(async () => (await ask(at, { name: "www.example.com" })).addresses[0] === "192.0.2.2", {
      what: "the fresh answer",
      timeoutMs: 8000,
    });
    expect(responder.stats().forwarding.stale).toBeGreaterThanOrEqual(2);
  });
});

describe("an upstream", () => {
  test("that is slow is waited for, by all who ask", async () => {
    const upstream = await startUpstream((query, send) => setTimeout(() => send(replyTo(query, { answers: [A("192.0.2.1", 60)] })), 1600));
    const { at } = await startResponder(ours, { upstreams: [upstream.at] });
    for (const round of [1, 2]) {
      const found = await Promise.all(Array.from({ length: 5 }, (_, i) => ask(at, { name: `n${i}-${round}.example.com` })));
      expect(found.map(({ rcode }) => rcode)).toEqual([0, 0, 0, 0, 0]);
    }
  });

  test.for<[string, Behaviour | undefined, "before" | "after"]>([
    ["asked after it refuses the port", undefined, "after"],
    ["asked before it refuses the port", undefined, "before"],
    ["asked after it says REFUSED", fails(RCODE.REFUSED), "after"],
    ["asked before it says SERVFAIL", fails(RCODE.SERVFAIL), "before"],
  ])("that is slow is waited for, too, where the one %s", async ([, does, place]) => {
    const slow = await startUpstream((query, send) => setTimeout(() => send(replyTo(query, { answers: [A("192.0.2.1", 60)] })), 1300));
    const other = does ? (await startUpstream(does)).at : { address: "127.0.0.1", port: await freePort() };
    const { at, responder } = await startResponder(ours, { upstreams: place === "after" ? [slow.at, other] : [other, slow.at] });
    expect(await ask(at, { name: "www.example.com" })).toMatchObject({ rcode: RCODE.NOERROR, addresses: ["192.0.2.1"] });
    expect(responder.stats().forwarding.cacheEntries).toBe(1);
  });

  test("that stays silent costs no more than 4.5 s, and then the other's refusal is the answer", async () => {
    const [slow, other] = [await startUpstream(silent), await startUpstream(fails(RCODE.REFUSED))];
    const { at } = await startResponder(ours, { upstreams: [slow.at, other.at] });
    const found = await ask(at, { name: "www.example.com" });
    expect(found.rcode).toBe(RCODE.REFUSED);
    expect(found.tookMs).toBeLessThan(5500);
  });

  test(
    "that is cut off costs its clients 4.5 s, then nothing, and is back within two seconds; our names never wait",
    { timeout: 40_000 },
    async () => {
      const upstream = await startUpstream(silent);
      const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
      const waiting = await askMany(at, 500);
      await expectLocalNamesPrompt(at);
      const failed = await Promise.all(waiting);
      expect(failed.every(({ rcode, ede }) => rcode === RCODE.SERVFAIL && ede === 22)).toBe(true);
      expect(Math.min(...failed.map(({ tookMs }) => tookMs))).toBeGreaterThan(4000);
      expect(Math.max(...failed.map(({ tookMs }) => tookMs))).toBeLessThan(5500);
      expect(responder.problems().join()).toContain("does not answer");

      const atOnce = await waitFor(
        async () => {
          const found = await ask(at, { name: "www.example.com" });
          return found.tookMs < 500 ? found : undefined;
        },
        { what: "a failure at once", timeoutMs: 10_000 },
      );
      expect(atOnce).toMatchObject({ rcode: RCODE.SERVFAIL, ede: 22 });
      expect((await ask(at, { name: "www.example.com", udpOctets: 0 })).message.readUInt16BE(10)).toBe(0); // no EDNS, no reason

      upstream.does = answers("192.0.2.1");
      const sinceMs = performance.now();
      await waitFor(async () => (await ask(at, { name: "www.example.org" })).rcode === 0, { what: "the upstream to be used again" });
      expect(performance.now() - sinceMs).toBeLessThan(2500);
      expect(responder.problems()).toEqual([]);
      expect(responder.stats().forwarding.upstreams[0]?.state).toBe("up");
    },
  );

  test("that answers probes and nothing else is probed no oftener for it", { timeout: 30_000 }, async () => {
    const probedMs: number[] = [];
    const upstream = await startUpstream((query, send) => {
      if (query[HEADER_OCTETS] !== 0) return;
      probedMs.push(performance.now());
      send(replyTo(query, {}));
    });
    const { at } = await startResponder(ours, { upstreams: [upstream.at] });
    const asking: Promise<Answer>[] = [];
    for (let i = 0; i < 60; i++) {
      asking.push(ask(at, { name: `n${i}.example.com` }));
      await sleep(50);
    }
    await Promise.all(asking);
    const gaps = probedMs.slice(1).map((ms, i) => ms - (probedMs[i] ?? 0));
    expect(gaps.length).toBeGreaterThanOrEqual(3);
    expect(gaps.toSorted((a, b) => a - b)[Math.floor(gaps.length / 2)]).toBeGreaterThan(500);
  });

  test("that is cut off is asked last while another one answers", async () => {
    const [cut, good] = [await startUpstream(silent), await startUpstream(answers("192.0.2.1"))];
    const { at } = await startResponder(ours, { upstreams: [cut.at, good.at] });
    await Promise.all([ask(at, { name: "a.example.com" }), ask(at, { name: "b.example.com" })]); // two failures
    const { tookMs } = await ask(at, { name: "c.example.com" });
    expect(tookMs).toBeLessThan(900);
  });

  test("may have 2,000 clients waiting for it, and no more", async () => {
    const upstream = await startUpstream(silent);
    const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
    const client = createSocket("udp4");
    onTestFinished(() => void client.close());
    let refused = 0;
    client.on("message", () => refused++);
    for (let i = 0; i < 2300; i++) {
      client.send(encodeQuestion({ name: wireName(`n${i}.example.com`), type: TYPE.A, id: i }), at.port, at.address);
      if (i % 50 === 49) await ask(at, { name: web }); // so that no socket's buffer overflows
    }
    await waitFor(() => refused === 300, { what: "SERVFAIL for 300" });
    expect(responder.stats().dropped["forward-limit"]).toBe(300);
    await expectLocalNamesPrompt(at);
  });

  test("whose reply over TCP does not come is given up in time", async () => {
    const upstream = await startUpstream((query, send, transport) => {
      if (transport === "udp") send(replyTo(query, { flags: OK | FLAG.TC }));
    });
    const { at } = await startResponder(ours, { upstreams: [upstream.at] });
    const socket = connect(at.port, at.address);
    onTestFinished(() => void socket.destroy());
    const query = encodeQuestion({ name: wireName("www.example.com"), type: TYPE.A });
    socket.write(Buffer.concat([Buffer.of(0, query.length), query]));
    const startedMs = performance.now();
    const [framed] = (await once(socket, "data")) as [Buffer];
    expect(framed.readUInt16BE(4) & 15).toBe(RCODE.SERVFAIL);
    expect(performance.now() - startedMs).toBeLessThan(5500);
  });

  test("that leads back to us is left out, told, and asked again when it no longer does", { timeout: 40_000 }, async () => {
    const upstream = await startUpstream(silent);
    const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
    upstream.does = (query, _send) => upstream.socket.send(query, at.port, at.address); // as it came
    responder.useUpstreams([]);
    responder.useUpstreams([upstream.at]); // the list has changed: it is looked again
    await waitFor(() => responder.problems().some((line) => line.includes("leads back")), { what: "the loop to be seen" });
    const asked = upstream.asked.length;
    expect(await ask(at, { name: "www.example.com" })).toMatchObject({ rcode: RCODE.SERVFAIL });
    expect(upstream.asked).toHaveLength(asked);
    await expectLocalNamesPrompt(at);
    upstream.does = answers("192.0.2.1");
    await waitFor(() => responder.problems().length === 0, { what: "the loop to be gone", timeoutMs: 25_000 });
    expect((await ask(at, { name: "www.example.com" })).addresses).toEqual(["192.0.2.1"]);
  });
});

describe("where names are asked", () => {
  test.for(["::1", "::1%lo"])("an upstream has an address of IPv6, perhaps with a zone: %s", async (address) => {
    const socket = createSocket({ type: "udp6", ipv6Only: true }).bind(0, "::1");
    await once(socket, "listening");
    onTestFinished(() => void socket.close());
    socket.on("message", (query, from) => socket.send(replyTo(query, { answers: [A("192.0.2.6", 60)] }), from.port, from.address));
    const { at } = await startResponder(ours, { upstreams: [{ address, port: socket.address().port }] });
    expect((await ask(at, { name: "www.example.com" })).addresses).toEqual(["192.0.2.6"]);
  });

  test("a stub domain is asked of its servers alone, by the longest suffix, never for names of ours", async () => {
    const [host, corp, lab] = await Promise.all(["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((address) => startUpstream(answers(address))));
    if (!host || !corp || !lab) throw new Error("not started");
    const { at } = await startResponder(ours, {
      upstreams: [host.at],
      stubs: [
        { suffix: "corp.example", servers: [corp.at] },
        { suffix: "lab.corp.example", servers: [lab.at] },
        { suffix: "10.in-addr.arpa", servers: [corp.at] },
        { suffix: Z, servers: [corp.at] },
      ],
    });
    const addressOf = async (name: string) => (await ask(at, { name })).addresses[0];
    expect(await addressOf("www.example.com")).toBe("192.0.2.1");
    expect(await addressOf("a.corp.example")).toBe("192.0.2.2");
    expect(await addressOf("b.LAB.corp.example")).toBe("192.0.2.3");
    expect(await addressOf("4.3.2.10.in-addr.arpa")).toBe("192.0.2.2");
    expect(await addressOf(web)).toBe("10.96.0.7");
    corp.does = fails(RCODE.SERVFAIL);
    expect((await ask(at, { name: "c.corp.example" })).rcode).toBe(RCODE.SERVFAIL);
    expect(host.asked.map(({ name }) => name)).toEqual(["www.example.com"]);
  });

  test("names that stay inside are NXDOMAIN with an SOA, and nobody is asked", async () => {
    const upstream = await startUpstream(answers("192.0.2.1"));
    const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
    for (const name of ["printer", "nas.local", "4.3.2.10.in-addr.arpa", "1.2.168.192.in-addr.arpa"]) {
      const found = await ask(at, { name });
      expect(found).toMatchObject({ rcode: RCODE.NXDOMAIN, ttl: 30 });
      expect(found.message.readUInt16BE(8)).toBe(1);
    }
    expect((await ask(at, { name: "10.in-addr.arpa" })).rcode).toBe(RCODE.NOERROR);
    expect(upstream.asked).toEqual([]);
    expect(responder.stats().forwarding.inside).toBe(5);
  });

  test("an ExternalName whose chain leads back to a name of ours ends with what we know of it", async () => {
    const reply = { flags: OK | RCODE.NXDOMAIN, answers: [CNAME(web, 60)], authority: [SOA("local", 60, 60)] };
    const upstream = await startUpstream((query, send) => send(replyTo(query, reply)));
    const { at } = await startResponder(ours, { upstreams: [upstream.at] });
    const found = await ask(at, { name: `out.default.svc.${Z}` });
    expect([found.rcode, found.addresses, found.message.readUInt16BE(6)]).toEqual([RCODE.NOERROR, ["10.96.0.7"], 3]);
    const sixth = await ask(at, { name: `out.default.svc.${Z}`, type: TYPE.AAAA }); // musl takes NXDOMAIN for both families
    expect(decodeReply(sixth.message).text).toBe(`NOERROR CNAME www.example.com CNAME ${web} 60 | ${Z}`);
  });

  test("also where that is an alias itself", async () => {
    const again = { source: "again", records: [{ name: `again.default.svc.${Z}`, type: "CNAME", target: web } as const], names: [] };
    const reply = { flags: OK | RCODE.NXDOMAIN, answers: [CNAME(`again.default.svc.${Z}`, 60)] };
    const upstream = await startUpstream((query, send) => send(replyTo(query, reply)));
    const { at } = await startResponder([...ours, again], { upstreams: [upstream.at] });
    const found = await ask(at, { name: `out.default.svc.${Z}` });
    const chain = `CNAME www.example.com CNAME again.default.svc.${Z} 60 CNAME ${web}`;
    expect(decodeReply(found.message).text).toBe(`NOERROR ${chain} A 10.96.0.7`);
  });

  test("and is NXDOMAIN only when it is not there and all is known", async () => {
    const missing = `missing.default.svc.${Z}`;
    const upstream = await startUpstream((query, send) =>
      send(replyTo(query, { flags: OK | RCODE.SERVFAIL, answers: [CNAME(missing, 60)] })),
    );
    const { at, responder } = await startResponder(ours, { upstreams: [upstream.at] });
    const textOf = async () => decodeReply((await ask(at, { name: `out.default.svc.${Z}` })).message).text;
    expect(await textOf()).toBe(`NXDOMAIN CNAME www.example.com CNAME ${missing} 60 | ${Z}`);
    responder.apply([], { revision: 2, synced: false, all: false });
    expect(await textOf()).toMatch(/^SERVFAIL CNAME/);
  });

  test("an ExternalName is its alias, then what the upstream says", async () => {
    const upstream = await startUpstream((query, send) =>
      send(replyTo(query, { answers: [CNAME("cdn.example.net", 60), { ...A("192.0.2.1", 60), name: "cdn.example.net" }] })),
    );
    const out = `out.default.svc.${Z}`;
    const { at } = await startResponder(ours, { upstreams: [upstream.at] });
    const found = await ask(at, { name: out });
    expect([found.addresses, found.message.readUInt16BE(6)]).toEqual([["192.0.2.1"], 3]);

    const missing = await startUpstream((query, send) =>
      send(replyTo(query, { flags: OK | RCODE.NXDOMAIN, authority: [SOA("com", 60, 60)] })),
    );
    const nothing = await startResponder(ours, { upstreams: [missing.at] });
    const none = await ask(nothing.at, { name: out });
    expect([none.rcode, none.message.readUInt16BE(6)]).toEqual([RCODE.NXDOMAIN, 1]);
  });

  test.for([
    ["refuses", () => startUpstream(fails(RCODE.REFUSED)).then(({ at }) => [at]), undefined],
    ["fails", () => startUpstream(fails(RCODE.SERVFAIL)).then(({ at }) => [at]), undefined],
    ["is not there", async () => [{ address: "127.0.0.1", port: await freePort() }], 23],
    ["is not known", () => Promise.resolve([]), 22],
  ] as const)("an ExternalName whose upstream %s is its alias with SERVFAIL, and the reason", async ([, start, ede]) => {
    const { at } = await startResponder(ours, { upstreams: await start() });
    const name = `out.default.svc.${Z}`;
    const found = await ask(at, { name });
    expect([found.rcode, found.message.readUInt16BE(6), found.ede]).toEqual([RCODE.SERVFAIL, 1, ede]);
    const plain = await ask(at, { name, udpOctets: 0 }); // no EDNS, no reason
    expect([plain.rcode, plain.message.readUInt16BE(6), plain.message.readUInt16BE(10)]).toEqual([RCODE.SERVFAIL, 1, 0]);
  });
});
