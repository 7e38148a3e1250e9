import { execa } from "execa";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import type { DnsChange, DnsRecord } from "#agent/compile/dns-records.ts";
import { createDnsResponder } from "#agent/dns/responder.ts";
import type { ListenAddress } from "#agent/dns/listen.ts";
import type { DnsResponder, DnsResponderOptions } from "#agent/dns/responder.ts";
import { freePort } from "#test/free-port.ts";
import { waitFor } from "#test/wait-for.ts";

// The responder over real sockets, asked by dig; a second responder is the upstream, where one is needed.

const silent = pino({ level: "silent" });
const Z = "cluster.local";
const web = `web.default.svc.${Z}`;
const many = `many.default.svc.${Z}`;

const change = (source: string, records: readonly DnsRecord[]): DnsChange => ({ source, records, names: [] });
const ours: readonly DnsChange[] = [
  change("web", [
    { name: web, type: "A", address: "10.96.0.7" },
    { name: `_http._tcp.${web}`, type: "SRV", weight: 100, port: 80, target: web },
    { name: "7.0.96.10.in-addr.arpa", type: "PTR", of: "virtual-ip", target: web },
  ]),
  change(
    "many",
    Array.from({ length: 200 }, (_, i) => ({ name: many, type: "A", address: `10.1.0.${i + 1}` }) as const),
  ),
  change("out", [{ name: `out.default.svc.${Z}`, type: "CNAME", target: "www.upstream.test" }]),
];
/** The upstream is authoritative for upstream.test, and answers NXDOMAIN for what it does not know there. */
const theirs: readonly DnsChange[] = [
  change("www", [{ name: "www.upstream.test", type: "A", address: "198.51.100.7" }]),
  change(
    "big",
    Array.from({ length: 200 }, (_, i) => ({ name: "big.upstream.test", type: "A", address: `198.51.100.${i + 1}` }) as const),
  ),
];

interface Running {
  readonly responder: DnsResponder;
  readonly at: ListenAddress;
}

async function start(changes: readonly DnsChange[], options: Partial<DnsResponderOptions> = {}): Promise<Running> {
  const responder = createDnsResponder({
    listen: [{ address: "127.0.0.1", port: 0 }],
    domain: Z,
    serviceCidrs: ["10.96.0.0/16"],
    dnsIps: ["10.96.0.10"],
    allowedSources: [],
    upstreams: [],
    log: silent,
    ...options,
  });
  responder.apply(changes, { revision: 1, synced: true, all: true });
  const stop = new AbortController();
  const running = responder.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await running;
  });
  const [at] = await responder.listening();
  if (!at) throw new Error("not bound");
  return { responder, at };
}

async function startWithUpstream(): Promise<Running> {
  const upstream = await start(theirs, { domain: "upstream.test" });
  return start(ours, { upstreams: [upstream.at] });
}

async function dig(at: ListenAddress, ...args: readonly string[]): Promise<string> {
  const { stdout } = await execa("dig", [`@${at.address}`, "-p", `${at.port}`, "+tries=1", "+time=6", ...args], {
    reject: false,
    timeout: 15_000,
  });
  return stdout;
}

describe("names of the cluster", () => {
  test("are answered over UDP and over TCP alike", async () => {
    const { at } = await start(ours);
    expect(await dig(at, "+short", web)).toBe("10.96.0.7");
    expect(await dig(at, "+short", "+tcp", web)).toBe("10.96.0.7");
    expect(await dig(at, "+short", "SRV", `_http._tcp.${web}`)).toBe(`0 100 80 ${web}.`);
    expect(await dig(at, "+short", "-x", "10.96.0.7")).toBe(`${web}.`);
  });

  test("are echoed in the case of the question, and missing ones are NXDOMAIN with SOA", async () => {
    const { at } = await start(ours);
    expect(await dig(at, "+noall", "+answer", "WeB.DeFault.sVc.cLuster.Local")).toContain("WeB.DeFault.sVc.cLuster.Local. 5 IN");
    const missing = await dig(at, `nope.default.svc.${Z}`);
    expect(missing).toContain("status: NXDOMAIN");
    expect(missing).toMatch(/cluster\.local\.\s+5\s+IN\s+SOA\s+ns\.dns\.cluster\.local\./);
  });

  test("with 200 addresses are cut to what the client takes, and are whole over TCP", async () => {
    const { at } = await start(ours);
    const cut = await dig(at, "+ignore", "+bufsize=4096", many);
    expect(cut).toMatch(/flags: qr aa tc/);
    expect(Number(/ANSWER: (\d+)/.exec(cut)?.[1])).toBe(73);
    expect(await dig(at, "+noedns", "+ignore", many)).toMatch(/ANSWER: 29,/);
    expect((await dig(at, "+short", many)).split("\n")).toHaveLength(200); // dig asks again over TCP
  });

  test("answer at once to a change, without a restart", async () => {
    const { at, responder } = await start(ours);
    responder.apply([change("web", [{ name: web, type: "A", address: "10.96.0.8" }])], { revision: 2, synced: true, all: false });
    expect(await dig(at, "+short", web)).toBe("10.96.0.8");
    responder.apply([change("web", [])], { revision: 3, synced: true, all: false });
    expect(await dig(at, web)).toContain("status: NXDOMAIN");
  });

  test("are never forwarded", async () => {
    const { at, responder } = await startWithUpstream();
    await dig(at, `nope.default.svc.${Z}`);
    await dig(at, "-x", "10.96.200.200");
    expect(responder.stats()).toMatchObject({ queries: 2, local: 2, forwarded: 0 });
  });
});

describe("other names", () => {
  test("are relayed as they are, and so are the replies", async () => {
    const { at } = await startWithUpstream();
    expect(await dig(at, "+short", "www.upstream.test")).toBe("198.51.100.7");
    expect(await dig(at, "nope.upstream.test")).toContain("status: NXDOMAIN");
    expect(await dig(at, "+short", "+tcp", "www.upstream.test")).toBe("198.51.100.7");
  });

  test("whose answer does not fit are asked over TCP when the client asks so", async () => {
    const { at } = await startWithUpstream();
    expect(await dig(at, "+ignore", "big.upstream.test")).toMatch(/flags: qr[a-z ]* tc/);
    expect((await dig(at, "+short", "big.upstream.test")).split("\n")).toHaveLength(200);
  });

  test("that an ExternalName stands for follow their alias", async () => {
    const { at } = await startWithUpstream();
    expect(await dig(at, "+short", `out.default.svc.${Z}`)).toBe("www.upstream.test.\n198.51.100.7");
  });

  test("go to the next upstream when one is not there, and fail before the client gives up when none is", async () => {
    const upstream = await start(theirs, { domain: "upstream.test" });
    const nobody = createSocket("udp4").bind(0, "127.0.0.1"); // takes questions, answers none
    await once(nobody, "listening");
    onTestFinished(() => void nobody.close());
    const dead = { address: "127.0.0.1", port: nobody.address().port };
    const one = await start(ours, { upstreams: [dead, upstream.at] });
    expect(await dig(one.at, "+short", "www.upstream.test")).toBe("198.51.100.7");

    const none = await start(ours, { upstreams: [dead] });
    const startedMs = performance.now();
    const failing = dig(none.at, "www.upstream.test");
    expect(await dig(none.at, "+short", web)).toBe("10.96.0.7"); // meanwhile
    expect(await failing).toContain("status: SERVFAIL");
    expect(performance.now() - startedMs).toBeLessThan(5500);
    expect(none.responder.problems().join()).toContain("does not answer");
  });

  test("are refused at once when their port is closed", async () => {
    const { at } = await start(ours, { upstreams: [{ address: "127.0.0.1", port: await freePort() }] });
    const startedMs = performance.now();
    expect(await dig(at, "www.upstream.test")).toContain("status: SERVFAIL");
    expect(performance.now() - startedMs).toBeLessThan(2000);
  });

  test("are not asked of an upstream that leads back to us", async () => {
    const first = await start(ours, { upstreams: [] });
    const second = await start(ours, { upstreams: [first.at] });
    const third = await start(ours, { upstreams: [second.at] }); // no loop yet
    expect(third.responder.problems()).toEqual([]);
    const { at, responder } = await startLooping();
    expect(await dig(at, "www.example.com")).toMatch(/status: (REFUSED|SERVFAIL)/);
    await waitFor(() => responder.problems().some((line) => line.includes("leads back")), { what: "the loop to be seen" });
  });
});

/** A responder whose upstream is a socket that sends everything back to the responder. */
async function startLooping(): Promise<Running> {
  const mirror = createSocket("udp4").bind(0, "127.0.0.1");
  await once(mirror, "listening");
  const running = await start(ours, { upstreams: [{ address: "127.0.0.1", port: mirror.address().port }] });
  mirror.on("message", (message) => mirror.send(message, running.at.port, "127.0.0.1"));
  onTestFinished(() => void mirror.close());
  return running;
}

describe("bad clients", () => {
  test("a forged reply with another question or id is not taken", async () => {
    const forger = createSocket("udp4").bind(0, "127.0.0.1");
    await once(forger, "listening");
    onTestFinished(() => void forger.close());
    forger.on("message", (message, { port }) => {
      const reply = (edit: (copy: Buffer) => void): void => {
        const copy = Buffer.from(message);
        copy[2] = 0x84;
        copy[3] = 0x83; // NXDOMAIN
        edit(copy);
        forger.send(copy, port, "127.0.0.1");
      };
      reply((copy) => (copy[1] = (copy[1] ?? 0) ^ 1));
      reply((copy) => (copy[13] = (copy[13] ?? 0) ^ 1));
      reply((copy) => (copy[2] = 0x04)); // not a reply
      reply((copy) => (copy[3] = 0x80)); // the true one: NOERROR
    });
    const { at } = await start(ours, { upstreams: [{ address: "127.0.0.1", port: forger.address().port }] });
    expect(await dig(at, "www.example.com")).toContain("status: NOERROR");
  });

  test("a connection that speaks no DNS, is silent or sends too much is closed, and others are answered", async () => {
    const { at, responder } = await start(ours);
    const silentOnes = await Promise.all(Array.from({ length: 40 }, () => open(at)));
    await waitFor(() => (responder.stats().dropped["tcp-connections"] ?? 0) === 8, { what: "8 of 40 connections to be closed" });
    for (const socket of silentOnes) socket.destroy();
    await waitFor(async () => (await dig(at, "+tcp", "+short", web)) === "10.96.0.7", { what: "an answer over TCP" });
    const huge = await open(at);
    huge.write(Buffer.concat([Buffer.of(0xff, 0xff), Buffer.alloc(5000)]));
    await once(huge, "close");
    expect(responder.stats().dropped["tcp-message-size"]).toBe(1);
  });

  test("a pipeline of 500 questions in one piece, and in pieces of one octet, has all its answers", async () => {
    const { at } = await start(ours);
    const one = question();
    const socket = await open(at);
    let octets = 0;
    socket.on("data", (chunk) => (octets += chunk.length));
    socket.write(Buffer.concat(Array.from({ length: 500 }, () => one)));
    await waitFor(() => octets === 500 * (one.length + 16), { what: "500 answers" });
    for (const octet of one) socket.write(Buffer.of(octet));
    await waitFor(() => octets === 501 * (one.length + 16), { what: "one answer more" });
    socket.destroy();
  });

  test("an address that is taken is a problem that is told, and is bound when it becomes free", async () => {
    const port = await freePort();
    const squatter = createSocket("udp4").bind(port, "127.0.0.1");
    await once(squatter, "listening");
    const responder = createDnsResponder({
      listen: [{ address: "127.0.0.1", port }],
      domain: Z,
      serviceCidrs: ["10.96.0.0/16"],
      dnsIps: ["10.96.0.10"],
      allowedSources: [],
      upstreams: [{ address: "127.0.0.1", port: 9 }],
      log: silent,
    });
    const stop = new AbortController();
    const running = responder.run(stop.signal);
    await waitFor(() => responder.problems().some((line) => line.includes("another program holds port")), { what: "the problem" });
    squatter.close();
    await responder.listening();
    expect(responder.problems()).toEqual([]);
    stop.abort();
    await running;
  });
});

/** `web.default.svc.cluster.local A`, with its length before it. */
function question(): Buffer {
  const name = Buffer.from("\x03web\x07default\x03svc\x07cluster\x05local\x00", "latin1");
  const message = Buffer.concat([Buffer.from("000101000001000000000000", "hex"), name, Buffer.of(0, 1, 0, 1)]);
  return Buffer.concat([Buffer.of(0, message.length), message]);
}

async function open(at: ListenAddress): Promise<Socket> {
  const socket = connect(at.port, at.address);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  onTestFinished(() => void socket.destroy());
  return socket;
}
