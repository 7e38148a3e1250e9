// The yardstick of `api`: the same bytes over the same protocol from a bare server that has them in memory and does nothing else.
//   node test/bench/bare-https.ts KEY CERT LIST-FILE LINE-FILE      prints its port
// GET /list: the file. GET /watch: waits. POST /wake: the line to all that wait.
import { readFileSync } from "node:fs";
import { createSecureServer, type Http2ServerResponse } from "node:http2";

const [key = "", cert = "", listFile = "", lineFile = ""] = process.argv.slice(2);
const list = readFileSync(listFile);
const line = readFileSync(lineFile);
const waiting = new Set<Http2ServerResponse>();
const server = createSecureServer({ key: readFileSync(key), cert: readFileSync(cert), allowHTTP1: true }, (request, response) => {
  if (request.url === "/wake") {
    for (const one of waiting) one.write(line);
    response.end();
  } else if (request.url.startsWith("/watch")) {
    waiting.add(response);
    response.once("close", () => waiting.delete(response));
    response.writeHead(200, { "content-type": "application/json" });
  } else response.end(list);
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`${typeof address === "object" && address ? address.port : 0}\n`);
});
