import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import type { Listener } from "#agent/listeners/listener-set.ts";

export interface Place {
  readonly address: string;
  readonly port: number;
}

/** So many at a time on one port; more are refused. */
const MAX_CONNECTIONS = 1024;
const CONNECT_WITHIN_MS = 10_000;
const GONE = "gone"; // a reason that costs no stack trace

/** Passes on connections, either direction by itself: a client that has said all may still read. `onward` undefined = there is nowhere to go now. */
export async function openTcpRelay({ address, port }: Place, onward: () => Place | undefined): Promise<Listener> {
  const clients = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    clients.add(client);
    void relay(client, onward()).finally(() => clients.delete(client));
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.listen({ host: address, port, ipv6Only: true });
  await once(server, "listening");
  server.on("error", () => undefined); // of accepting one connection
  return {
    close() {
      server.close();
      for (const client of clients) client.destroy();
    },
  };
}

/** Ends when both directions have; never rejects. What breaks off on one side breaks off on the other, as it would without us. */
async function relay(client: Socket, to: Place | undefined): Promise<void> {
  client.on("error", () => undefined); // 'close' follows
  if (!to) {
    client.resetAndDestroy();
    return;
  }
  const upstream = connect({ host: to.address, port: to.port, allowHalfOpen: true, noDelay: true });
  upstream.on("error", () => undefined);
  const gone = new AbortController();
  const late = setTimeout(() => gone.abort(GONE), CONNECT_WITHIN_MS);
  // Both before the pipeline sees it, which would end the other side as if all had been said.
  client.once("error", () => breakOff(upstream));
  client.once("close", () => {
    gone.abort(GONE);
    if (!(client.readableEnded && client.writableFinished)) breakOff(upstream);
  });
  try {
    await once(upstream, "connect", { signal: gone.signal });
    clearTimeout(late);
    await Promise.all([pipeline(client, upstream), pipeline(upstream, client)]);
  } catch {
    breakOff(upstream);
    breakOff(client);
  } finally {
    clearTimeout(late);
  }
}

function breakOff(socket: Socket): void {
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}
