import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { performance } from "node:perf_hooks";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { encodeQuestion } from "#agent/dns/encode-question.ts";
import type { ListenAddress } from "#agent/dns/listen.ts";
import { CLASS_IN, HEADER_OCTETS, TYPE } from "#agent/dns/protocol.ts";
import { skipName } from "#agent/dns/query.ts";
import { createDnsResponder, type DnsResponder, type DnsResponderOptions } from "#agent/dns/responder.ts";
import { wireName } from "#test/dns-messages.ts";
import { bindBoth } from "#test/free-port.ts";

// A responder, upstreams that do as they are told, and a client that sends what it is given.

export const Z = "cluster.local";

export interface Running {
  readonly responder: DnsResponder;
  readonly at: ListenAddress;
}

export async function startResponder(changes: readonly DnsChange[], options: Partial<DnsResponderOptions> = {}): Promise<Running> {
  const responder = createDnsResponder({
    listen: [{ address: "127.0.0.1", port: 0 }],
    domain: Z,
    serviceCidrs: ["10.96.0.0/16"],
    dnsIps: ["10.96.0.10"],
    allowedSources: [],
    upstreams: [],
    log: pino({ level: "silent" }),
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

/** What an upstream does with a question: sends replies, now or later, or none. */
export type Behaviour = (query: Buffer, send: (reply: Buffer) => void, transport: "udp" | "tcp", port: number) => void;

export interface TestUpstream {
  readonly at: ListenAddress;
  /** All that came but our own probes. */
  readonly asked: readonly { readonly name: string; readonly type: number; readonly id: number; readonly port: number }[];
  does: Behaviour;
  /** To send from its address. */
  readonly socket: Socket;
}

export async function startUpstream(does: Behaviour): Promise<TestUpstream> {
  const server = createServer();
  const socket = await bindBoth(server);
  const { port } = socket.address();
  const asked: TestUpstream["asked"][number][] = [];
  const upstream: TestUpstream = { at: { address: "127.0.0.1", port }, asked, does, socket };
  const handle = (query: Buffer, send: (reply: Buffer) => void, transport: "udp" | "tcp", from: number): void => {
    const name = nameOf(query);
    if (name !== "." && !name.endsWith("loop.invalid"))
      asked.push({ name, type: query.readUInt16BE(skipName(query, HEADER_OCTETS) ?? 0), id: query.readUInt16BE(0), port: from });
    upstream.does(query, send, transport, from);
  };
  let isOpen = true;
  socket.on("message", (query, from) => {
    const send = (reply: Buffer): void => {
      if (isOpen) socket.send(reply, from.port, from.address);
    };
    handle(query, send, "udp", from.port);
  });
  server.on("connection", (client) => {
    client.on("error", () => undefined);
    onTestFinished(() => void client.destroy());
    client.once("data", (framed) =>
      handle(
        framed.subarray(2),
        (reply) => client.write(Buffer.concat([Buffer.of(reply.length >> 8, reply.length & 255), reply])),
        "tcp",
        client.remotePort ?? 0,
      ),
    );
  });
  onTestFinished(() => {
    isOpen = false;
    socket.close();
    server.close();
  });
  return upstream;
}

export interface Answer {
  readonly message: Buffer;
  readonly rcode: number;
  readonly isCut: boolean;
  readonly addresses: readonly string[];
  readonly ttl: number | undefined;
  /** Extended DNS error. */
  readonly ede: number | undefined;
  readonly tookMs: number;
}

export interface Asked {
  readonly name: string;
  readonly type?: number;
  readonly id?: number;
  /** undefined = without EDNS. */
  readonly udpOctets?: number | undefined;
}

/** Asks over UDP, once; rejects after `timeoutMs`. */
export async function ask(at: ListenAddress, { name, type = TYPE.A, id = 1, udpOctets = 1232 }: Asked, timeoutMs = 8000): Promise<Answer> {
  const query = encodeQuestion({ name: wireOf(name), type, id, ...(udpOctets > 0 && { udpOctets }) });
  const socket = createSocket("udp4");
  const startedMs = performance.now();
  try {
    const replied = once(socket, "message", { signal: AbortSignal.timeout(timeoutMs) });
    socket.send(query, at.port, at.address);
    const [message] = (await replied) as [Buffer];
    return { ...readAnswer(message), tookMs: performance.now() - startedMs };
  } finally {
    socket.close();
  }
}

/** With the letters as they are. */
function wireOf(name: string): Buffer {
  const wire = Buffer.from(wireName(name));
  let at = 1;
  for (const letter of name) wire[at++] = letter === "." ? (wire[at - 1] ?? 0) : letter.charCodeAt(0);
  return wire;
}

export function readAnswer(message: Buffer): Omit<Answer, "tookMs"> {
  const flags = message.readUInt16BE(2);
  const counts = [6, 8, 10].map((at) => message.readUInt16BE(at));
  const addresses: string[] = [];
  let [ttl, ede]: (number | undefined)[] = [];
  let at = (skipName(message, HEADER_OCTETS) ?? 0) + 4;
  for (let left = counts.reduce((sum, count) => sum + count, 0); left > 0; left--) {
    const fixed = skipName(message, at);
    if (fixed === undefined) throw new Error("unreadable answer");
    const type = message.readUInt16BE(fixed);
    const data = message.subarray(fixed + 10, fixed + 10 + message.readUInt16BE(fixed + 8));
    if (type === TYPE.OPT) ede = data.length >= 6 && data.readUInt16BE(0) === 15 ? data.readUInt16BE(4) : undefined;
    else ttl ??= message.readUInt32BE(fixed + 4);
    if (type === TYPE.A && message.readUInt16BE(fixed + 2) === CLASS_IN) addresses.push(data.join("."));
    at = fixed + 10 + data.length;
  }
  return { message, rcode: flags & 15, isCut: (flags & 0x0200) !== 0, addresses, ttl, ede };
}

function nameOf(query: Buffer): string {
  const labels: string[] = [];
  for (let at = HEADER_OCTETS; (query[at] ?? 0) > 0; at += (query[at] ?? 0) + 1)
    labels.push(query.toString("latin1", at + 1, at + 1 + (query[at] ?? 0)));
  return labels.length === 0 ? "." : labels.join(".");
}
