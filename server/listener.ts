import { constants, createSecureServer, Http2ServerRequest, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Server } from "node:https";
import type { Socket } from "node:net";
import type { FastifyRequest } from "fastify";

/** One port for HTTP/2 and HTTP/1.1, by what the client offers (ALPN), and what a connection may take of us. docs/adr/0008. */

export interface ListenerTimes {
  /** From the connection to its first request's headers. */
  readonly headersMs: number;
  /** From a request's beginning to its end. */
  readonly requestMs: number;
  /** Without a request. */
  readonly idleMs: number;
}

/** Open requests of one connection, watches too. Go's clients take another connection where these are taken. */
export const MAX_STREAMS = 250; // as Kubernetes

/** Node's own defaults stand where they are narrow: 128 headers of 64 KiB, 10 MB a session, 33 reset streams a second, 1,000 control frames waiting. */
const LIMITS = {
  settings: { maxConcurrentStreams: MAX_STREAMS, enablePush: false },
  maxSettings: 16,
  maxSessionInvalidFrames: 100,
  streamResetBurst: 2 * MAX_STREAMS,
  streamResetRate: MAX_STREAMS,
};

export interface Listener {
  /** Its type is that of the older protocol: what Fastify and we use of requests and answers, Node makes the same for both. */
  readonly server: Server;
  /** Tells clients of HTTP/2 to send their next requests elsewhere (GOAWAY); those under way go on. */
  refuseNewStreams(): void;
  /** Those whose streams are refused have sent all that they had: a stream that is closed may still be on its way to the socket. */
  sessionsEnd(): Promise<void>;
}

export function createListener(tls: { key: string; cert: string }, times: ListenerTimes): Listener {
  const { headersMs, requestMs, idleMs } = times;
  // Node takes more of these than its types know.
  const http1Options = {
    headersTimeout: headersMs,
    requestTimeout: requestMs,
    keepAliveTimeout: idleMs,
    connectionsCheckingInterval: 5000,
  };
  const server = createSecureServer({
    ...tls,
    ...LIMITS,
    allowHTTP1: true,
    minVersion: "TLSv1.2",
    handshakeTimeout: headersMs,
    http1Options: { ...http1Options },
  });
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const follow = (socket: Socket): void => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  };
  server.on("connection", follow).on("secureConnection", follow);
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    boundSession(session, times);
  });
  // Fastify's to call when it closes; Node has it for servers of HTTP/1.1 only.
  const closeAllConnections = (): void => {
    for (const session of sessions) session.destroy();
    for (const socket of sockets) socket.destroy();
  };
  return {
    server: Object.assign(server, { closeAllConnections }) as unknown as Server,
    refuseNewStreams: () => {
      for (const session of sessions) session.close();
    },
    sessionsEnd: async () => {
      await Promise.all(Array.from(sessions, (session) => new Promise<void>((resolve) => session.once("close", resolve))));
    },
  };
}

/** What tells one connection from another: of HTTP/2 many requests share one, each with a socket object of its own. */
export function connectionOf({ raw }: FastifyRequest): object {
  return raw instanceof Http2ServerRequest ? (raw.stream.session ?? raw.stream) : raw.socket;
}

function boundSession(session: ServerHttp2Session, { headersMs, requestMs, idleMs }: ListenerTimes): void {
  let open = 0;
  // A watch may be silent for hours; a session without any request may not.
  const endIfIdle = (): void => {
    if (open === 0) session.destroy(); // close() would wait for a client that reads nothing
  };
  session.setTimeout(headersMs, endIfIdle);
  session.on("stream", (stream) => {
    if (open++ === 0) session.setTimeout(idleMs);
    stream.once("close", () => open--);
    endUnlessSent(stream, requestMs);
  });
  session.on("error", () => undefined); // the connection broke, or the client broke the protocol: Node has closed it
}

/** The body has to come in time, as over HTTP/1.1. */
function endUnlessSent(stream: ServerHttp2Stream, requestMs: number): void {
  if (stream.endAfterHeaders) return;
  const timer = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), requestMs);
  const stop = (): void => clearTimeout(timer);
  stream.once("end", stop).once("close", stop);
}
