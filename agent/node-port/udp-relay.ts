import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import type { Listener } from "#agent/listeners/listener-set.ts";
import type { Place } from "./tcp-relay.ts";

/** A client's way onward: a socket of its own, by which the answers come back. The one that was silent longest makes room for a new one. */
interface Session {
  readonly socket: Socket;
  usedAt: number;
}

/** Of all ports together. */
export interface UdpSessions {
  /** The session of this name, made where there is none. */
  use(name: string, open: () => Socket): Socket;
  closeAll(prefix: string): void;
  close(): void;
}

const MAX_SESSIONS = 1024;
/** As long as the kernel remembers a flow with traffic in both directions. */
const IDLE_MS = 120_000;

export function createUdpSessions(limit = MAX_SESSIONS, idleMs = IDLE_MS): UdpSessions {
  /** Oldest use first. */
  const sessions = new Map<string, Session>();
  let sweeper: NodeJS.Timeout | undefined;
  const end = (name: string): void => {
    sessions.get(name)?.socket.close();
    sessions.delete(name);
    if (sessions.size > 0) return;
    clearInterval(sweeper);
    sweeper = undefined;
  };
  const sweep = (): void => {
    const before = performance.now() - idleMs;
    for (const [name, { usedAt }] of sessions) {
      if (usedAt > before) return;
      end(name);
    }
  };
  return {
    use(name, open) {
      const session = sessions.get(name) ?? { socket: open(), usedAt: 0 };
      session.usedAt = performance.now();
      sessions.delete(name);
      sessions.set(name, session);
      const [oldest] = sessions.keys();
      if (sessions.size > limit && oldest !== undefined) end(oldest);
      sweeper ??= setInterval(sweep, idleMs / 4).unref();
      return session.socket;
    },
    closeAll(prefix) {
      for (const name of [...sessions.keys()]) if (name.startsWith(prefix)) end(name);
    },
    close() {
      for (const name of [...sessions.keys()]) end(name);
    },
  };
}

/** Passes on datagrams. `onward` undefined = there is nowhere to go now: they are lost. */
export async function openUdpRelay({ address, port }: Place, onward: () => Place | undefined, sessions: UdpSessions): Promise<Listener> {
  const kind = address.includes(":") ? "udp6" : "udp4";
  const own = `${address} ${port} `;
  const server = createSocket(kind);
  const sessionOf = (client: RemoteInfo, to: Place): Socket =>
    sessions.use(`${own}${client.address} ${client.port} ${to.address}`, () => {
      const socket = createSocket(kind);
      socket.on("error", () => undefined); // the next datagram tries again
      socket.on("message", (answer, from) => {
        if (from.address === to.address && from.port === to.port) server.send(answer, client.port, client.address, () => undefined);
      });
      return socket;
    });
  server.on("message", (datagram, client) => {
    const to = onward();
    if (to) sessionOf(client, to).send(datagram, to.port, to.address, () => undefined);
  });
  server.bind({ address, port, exclusive: true });
  await once(server, "listening").catch((cause: unknown) => {
    server.close(); // it is tried again and again: each would keep its descriptor
    throw cause;
  });
  server.on("error", () => undefined);
  return {
    close() {
      server.close();
      sessions.closeAll(own);
    },
  };
}
