import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Listener } from "./listener-set.ts";
import { createServer } from "./node-http.ts";

/** A small HTTP listener for machines that ask a question: GET and HEAD, few connections, and none that stays without asking. */
export interface HttpPlace {
  readonly address: string;
  readonly port: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const MAX_CONNECTIONS = 128;
const TIMEOUT_MS = 5_000;

/** `answer` gets what follows the host name, decoded, and who asks; undefined = there is nothing there. */
export async function openHttp(
  { address, port }: HttpPlace,
  answer: (url: URL, from: string) => HttpAnswer | undefined | Promise<HttpAnswer | undefined>,
): Promise<Listener> {
  const server = createServer(
    { requestTimeout: TIMEOUT_MS, headersTimeout: TIMEOUT_MS, keepAliveTimeout: TIMEOUT_MS, connectionsCheckingInterval: TIMEOUT_MS },
    (request, response) => void reply(request, response, answer),
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.listen({ host: address, port, ipv6Only: address.includes(":") });
  await once(server, "listening");
  server.on("error", () => undefined); // of accepting one connection: out of file descriptors, or it went before it was accepted
  return {
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

const NOTHING: HttpAnswer = { status: 404, type: "text/plain", body: "404 page not found\n" };
const FAILED: HttpAnswer = { status: 500, type: "text/plain", body: "500 internal error\n" };

async function reply(request: IncomingMessage, response: ServerResponse, answer: Parameters<typeof openHttp>[1]): Promise<void> {
  const { method = "" } = request;
  if (method !== "GET" && method !== "HEAD") {
    response.writeHead(405, { allow: "GET, HEAD" }).end();
    return;
  }
  const url = URL.parse(request.url ?? "/", "http://host");
  const { status, type, body, headers } =
    (url &&
      (await Promise.resolve(url)
        .then((asked) => answer(asked, request.socket.remoteAddress ?? ""))
        .catch(() => FAILED))) ??
    NOTHING;
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "x-content-type-options": "nosniff",
    ...headers,
  });
  response.end(method === "HEAD" ? undefined : body);
}
