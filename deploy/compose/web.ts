// Says who answers: node web.ts NAME
import { createServer } from "node:http";

const [, , name = "web"] = process.argv;
createServer((_request, response) => response.end(`${name}\n`)).listen(8080);
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit());
