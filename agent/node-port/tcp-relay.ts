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

/** Ends when both directions have; never rejects. What breaks on one side breaks the other, as it would without us. */
async function relay(client: Socket, to: Place | undefined): Promise<void> {
  client.on("error", () => undefined);
  if (!to) {
    client.resetAndDestroy();
    return;
  }
  const upstream = connect({ host: to.address, port: to.port, allowHalfOpen: true, noDelay: true });
  upstream.on("error", () => undefined);
  const gone = new AbortController();
  const end = (): void => gone.abort(GONE);
  client.once("close", end);
  const late = setTimeout(end, CONNECT_WITHIN_MS);
  try {
    await once(upstream, "connect", { signal: gone.signal });
    clearTimeout(late);
    await Promise.all([pipeline(client, upstream), pipeline(upstream, client)]);
  } catch {
    upstream.destroy();
    client.resetAndDestroy();
  } finally {
    clearTimeout(late);
    client.off("close", end);
  }
}
