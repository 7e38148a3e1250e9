// A workload for tests and the demo:  node test/fleet/http-echo.ts --listen 172.30.0.1:8080 --id web-1   ([fd30::1]:8080 too; --listen may be repeated)
//   GET /               "web-1 172.30.0.3": who answers, and whose address it sees
//   GET /healthz        200, or what the last POST /health {"status": 503} said
//   GET /stream         a line every 100 ms until the client goes: is a connection left alone?
// Prints "listening ADDR:PORT" for each address. A TERM ends it at once, as a crash would.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { clientAddress, parseListen } from "./listen.ts";

const { values } = parseArgs({
  options: { listen: { type: "string", multiple: true, default: [] }, id: { type: "string", default: "echo" } },
});
let health = 200;

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url?.split("?")[0];
  if (path === "/healthz") {
    response.writeHead(health).end(`${health}\n`);
  } else if (path === "/health" && request.method === "POST") {
    const wanted: unknown = JSON.parse(await text(request));
    const status = typeof wanted === "object" && wanted !== null && "status" in wanted ? wanted.status : undefined;
    if (typeof status !== "number" || !(status >= 200 && status <= 599)) {
      response.writeHead(400).end('want {"status": 200..599}\n');
      return;
    }
    health = status;
    response.end(`${health}\n`);
  } else if (path === "/stream") {
    stream(request, response);
  } else {
    response.setHeader("x-served-by", values.id);
    response.end(`${values.id} ${clientAddress(request.socket.remoteAddress)}\n`);
  }
}

function stream(request: IncomingMessage, response: ServerResponse): void {
  let tick = 0;
  const timer = setInterval(() => response.write(`${values.id} ${++tick}\n`), 100);
  request.socket.once("close", () => clearInterval(timer));
}

for (const { host, port } of values.listen.map(parseListen)) {
  const server = createServer({ keepAliveTimeout: 600_000, requestTimeout: 0 }, (request, response) => {
    answer(request, response).catch((error: unknown) => response.writeHead(400).end(`${String(error)}\n`));
  });
  server.listen({ host, port }, () => {
    const address = server.address();
    if (typeof address === "object" && address !== null) process.stdout.write(`listening ${address.address}:${address.port}\n`);
  });
}
