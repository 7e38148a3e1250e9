// One program for both ends of many flows, on one machine of a fleet:  node test/fleet/station.ts
// Takes commands as JSON lines on stdin and answers each with one on stdout (station-words.ts); ends with its stdin. No process per request: a
// flow costs what its packets cost. Servers answer "ADDRESS:PORT CLIENT": at which of their addresses they were found, and whose address they see;
// over TCP they say that at once, and then send back what they are sent.
import { execFile, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { clientAddress } from "./listen.ts";
import { hostPort, type Ask, type Command, type Listen, type Seen } from "./station-words.ts";

const AT_ONCE = 16;
const SCTP = "test/fleet/sctp.pl";
/** Nobody listens at one of these. */
const FRESH = { first: 33_000, count: 28_000 } as const;
let taken = 0;

/** One counter for both families: a socket of IPv6 that is bound to a port has it in IPv4 as well. */
function portFor({ freshPorts }: Ask): number {
  return freshPorts === true ? FRESH.first + (taken++ % FRESH.count) : 0;
}

function greeting(socket: Pick<Socket, "localAddress" | "localPort" | "remoteAddress">): string {
  return `${hostPort(clientAddress(socket.localAddress), socket.localPort ?? 0)} ${clientAddress(socket.remoteAddress)}\n`;
}

async function listenTcp({ address, port }: Listen): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined); // clients leave with a reset
    socket.write(greeting(socket));
    socket.pipe(socket);
  });
  server.listen({ host: address, port, backlog: 1024 });
  await once(server, "listening");
}

async function listenUdp({ address, port }: Listen): Promise<void> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("message", (_, from) => socket.send(`${hostPort(address, port)} ${clientAddress(from.address)}\n`, from.port, from.address));
  socket.bind({ address, port });
  await once(socket, "listening");
}

async function listenSctp({ address, port }: Listen): Promise<void> {
  const child = spawn("perl", [SCTP, "listen", address, String(port)], { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => child.kill());
  await once(child.stdout, "data");
}

/** Who answered and what he saw; throws what the kernel said, or `timeout`. */
function askTcp(ask: Ask): Promise<string> {
  const { address, port, source, timeoutMs } = ask;
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({ host: address, port, localPort: portFor(ask), ...(source !== undefined && { localAddress: source }) });
  const late = setTimeout(() => reject(new Error("timeout")), timeoutMs);
  socket.once("data", (text) => resolve(text.toString().trim()));
  socket.once("error", reject);
  socket.once("close", () => reject(new Error("closed without an answer")));
  // With a reset nothing of the connection stays, in no kernel: tens of thousands of them are made in a row.
  return promise.finally(() => {
    clearTimeout(late);
    socket.resetAndDestroy();
  });
}

async function askUdp(ask: Ask): Promise<string> {
  const { address, port, source, timeoutMs } = ask;
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const late = setTimeout(() => reject(new Error("timeout")), timeoutMs);
  socket.once("message", (text) => resolve(text.toString().trim()));
  socket.on("error", reject);
  if (source !== undefined || ask.freshPorts === true) {
    socket.bind({ port: portFor(ask), ...(source !== undefined && { address: source }) });
    await once(socket, "listening");
  }
  // Only a connected socket is told of a refusal.
  socket.connect(port, address, () => socket.send("who?"));
  return promise.finally(() => {
    clearTimeout(late);
    socket.close();
  });
}

/** `ECHO CLIENT`, where nobody tells whom he saw. */
function ping({ address, source, timeoutMs }: Ask): Promise<string> {
  const from = source === undefined ? [] : ["-I", source];
  const args = ["-n", "-c", "1", "-W", String(timeoutMs / 1000), ...from, address];
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  execFile("ping", args, { timeout: timeoutMs + 5_000 }, (_, stdout, stderr) => {
    if (stdout.includes(`bytes from ${address}`)) resolve("ECHO -");
    else if (/port unreachable/i.test(stdout)) reject(new Error("ECONNREFUSED"));
    else if (/100% packet loss/.test(stdout) && !/unreachable|exceeded|different/i.test(stdout)) reject(new Error("timeout"));
    else reject(new Error(`ping: ${stdout}${stderr}`));
  });
  return promise;
}

function askSctp({ address, port, source, timeoutMs }: Ask): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const args = [SCTP, "ask", address, String(port), String(timeoutMs), ...(source === undefined ? [] : [source])];
  execFile("perl", args, (error, stdout, stderr) => {
    if (error) reject(new Error(stdout.trim() || stderr));
    else resolve(stdout.trim());
  });
  return promise;
}

async function askAll(ask: Ask): Promise<Seen> {
  const one = { tcp: askTcp, udp: askUdp, sctp: askSctp, icmp: ping }[ask.protocol];
  const answers: Record<string, number> = {};
  const clients = new Map<string, Set<string>>();
  const failures: Record<string, number> = {};
  let left = ask.times;
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      try {
        const [who = "", client = ""] = (await one(ask)).split(" ");
        answers[who] = (answers[who] ?? 0) + 1;
        clients.set(who, (clients.get(who) ?? new Set()).add(client));
      } catch (error) {
        const reason = error instanceof Error && "code" in error ? String(error.code) : (error as Error).message;
        failures[reason] = (failures[reason] ?? 0) + 1;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return { answers, failures, clients: Object.fromEntries(Array.from(clients, ([who, seen]) => [who, [...seen]])) };
}

async function obey(command: Command): Promise<Seen | undefined> {
  if ("ask" in command) return askAll(command.ask);
  for (const listen of command.listen) await { tcp: listenTcp, udp: listenUdp, sctp: listenSctp }[listen.protocol](listen);
  return undefined;
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { id, ...command } = JSON.parse(line) as Command & { id: number };
  obey(command).then(
    (seen) => process.stdout.write(`${JSON.stringify({ id, seen })}\n`),
    (error: unknown) => process.stdout.write(`${JSON.stringify({ id, failed: String(error) })}\n`),
  );
});
lines.once("close", () => process.exit(0));
