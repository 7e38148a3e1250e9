import { createServer, isIPv6 } from "node:net";
import type { Server, Socket } from "node:net";
import { once } from "node:events";
import { MESSAGES_PER_VISIT, Turns } from "./turns.ts";
import type { ListenHandlers, MessageHandler, OnDrop, Reply } from "./udp.ts";

/** RFC 7766, and limits so that no client can hold more than its share. */
export const TCP_LIMITS = {
  connections: 256,
  connectionsPerClient: 32,
  messageOctets: 4096,
  idleMs: 10_000,
  /** From the first octet of a message to its last; a connection that sends one octet every 3 s never idles. */
  messageMs: 10_000,
  inFlight: 32,
  unsentOctets: 65_536,
} as const;

/** Of the kernel's queue: a burst that it cannot hold comes again a second later, and two, and four. */
const BACKLOG = 2048;

export interface TcpListener {
  readonly port: number;
  /** No new connections; what is in flight is answered, then everything is closed after `drainMs`. */
  close(drainMs: number): Promise<void>;
}

export async function bindTcp(
  address: string,
  port: number,
  { accepts, onMessage, onDrop, reusePort }: ListenHandlers,
): Promise<TcpListener> {
  /** Who asked last stands last. */
  const sockets = new Set<Socket>();
  const perClient = new Map<string, number>();
  const turns = new Turns();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const client = socket.remoteAddress ?? "";
    const held = perClient.get(client) ?? 0;
    if (!accepts(client)) {
      onDrop("stranger");
      socket.destroy();
      return;
    }
    if (held >= TCP_LIMITS.connectionsPerClient) {
      onDrop("tcp-connections");
      socket.destroy();
      return;
    }
    // Who has been silent longest makes room: idle connections keep nobody out.
    for (const longestSilent of sockets) {
      if (sockets.size < TCP_LIMITS.connections) break;
      sockets.delete(longestSilent);
      onDrop("tcp-connections");
      longestSilent.destroy();
    }
    sockets.add(socket);
    perClient.set(client, held + 1);
    socket.once("close", () => {
      sockets.delete(socket);
      const left = (perClient.get(client) ?? 1) - 1;
      if (left === 0) perClient.delete(client);
      else perClient.set(client, left);
    });
    const onAsked: MessageHandler = (message, from, reply) => {
      sockets.delete(socket);
      sockets.add(socket);
      onMessage(message, from, reply);
    };
    serveConnection(socket, { client, turns, onMessage: onAsked, onDrop });
  });
  server.listen({ host: address, port, exclusive: true, reusePort, ipv6Only: isIPv6(address), backlog: BACKLOG });
  await once(server, "listening");
  server.on("error", () => onDrop("socket-error"));
  return { port: portOf(server), close: (drainMs) => closeServer(server, sockets, drainMs) };
}

interface ConnectionDeps {
  readonly client: string;
  readonly turns: Turns;
  readonly onMessage: MessageHandler;
  readonly onDrop: OnDrop;
}

/** Reads length-prefixed messages in whatever pieces they come, and writes the answers in the order in which they are ready. */
function serveConnection(socket: Socket, { client, turns, onMessage, onDrop }: ConnectionDeps): void {
  let pending: Buffer = Buffer.alloc(0);
  let inFlight = 0;
  let ended = false;
  let reading = false;
  /** How many more messages, until others have had theirs. */
  let left = 0;
  let messageTimer: NodeJS.Timeout | undefined;
  const give = (reason: string): void => {
    onDrop(reason);
    socket.destroy();
  };
  const isFull = (): boolean => inFlight >= TCP_LIMITS.inFlight || socket.writableLength > TCP_LIMITS.unsentOctets;

  const settle = (answer: Buffer | undefined): void => {
    inFlight--;
    if (socket.destroyed) return;
    if (!answer) {
      socket.destroy(); // one that speaks no DNS
      return;
    }
    const framed = Buffer.allocUnsafe(2 + answer.length);
    framed.writeUInt16BE(answer.length, 0);
    answer.copy(framed, 2);
    socket.write(framed);
    proceed();
  };
  const takeMessage = (): Buffer | undefined => {
    if (isFull() || socket.destroyed || pending.length < 2) return undefined;
    const length = pending.readUInt16BE(0);
    if (length > TCP_LIMITS.messageOctets) {
      give("tcp-message-size");
      return undefined;
    }
    if (pending.length < 2 + length) return undefined;
    if (left === 0 || !turns.take()) {
      turns.wait(proceed);
      return undefined;
    }
    left--;
    const message = pending.subarray(2, 2 + length);
    pending = pending.subarray(2 + length);
    clearTimeout(messageTimer);
    messageTimer = undefined;
    return message;
  };
  const proceed = (): void => {
    if (reading) return; // an answer that is there at once comes back here: the loop below goes on with the next message
    reading = true;
    left = MESSAGES_PER_VISIT;
    for (let message = takeMessage(); message; message = takeMessage()) {
      inFlight++;
      onMessage(message, { address: client, transport: "tcp" }, onlyOnce(settle));
    }
    reading = false;
    if (socket.destroyed) return;
    if (isFull() || turns.isWaiting(proceed)) socket.pause();
    else {
      socket.resume();
      if (pending.length > 0) messageTimer ??= setTimeout(() => give("tcp-slow-message"), TCP_LIMITS.messageMs);
    }
    if (ended && inFlight === 0 && !turns.isWaiting(proceed)) socket.end();
  };

  socket.setTimeout(TCP_LIMITS.idleMs, () => give("tcp-idle"));
  socket.on("data", (chunk) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    proceed();
  });
  socket.on("drain", proceed);
  socket.on("end", () => {
    ended = true;
    proceed();
  });
  socket.on("error", () => onDrop("tcp-error"));
  socket.once("close", () => clearTimeout(messageTimer));
}

/** A query has one answer; a second one would be counted as another's. */
function onlyOnce(settle: Reply): Reply {
  let settled = false;
  return (answer) => {
    if (settled) return;
    settled = true;
    settle(answer);
  };
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function closeServer(server: Server, sockets: ReadonlySet<Socket>, drainMs: number): Promise<void> {
  const closed = once(server, "close");
  server.close();
  for (const socket of sockets) socket.end();
  const timer = setTimeout(() => {
    for (const socket of sockets) socket.destroy();
  }, drainMs);
  await closed;
  clearTimeout(timer);
}
