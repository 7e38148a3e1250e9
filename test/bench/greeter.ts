// A TCP server that says its id to each connection:  node test/bench/greeter.ts --listen 172.30.0.1:9001=a --listen 172.30.0.1:9002=b
import { createServer } from "node:net";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { listen: { type: "string", multiple: true, default: [] } } });
for (const one of values.listen) {
  const [, host, port, id] = /^(.+):(\d+)=(\w+)$/.exec(one) ?? [];
  if (id === undefined) throw new Error(`want ADDRESS:PORT=ID, not ${one}`);
  createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.end(`${id}\n`);
  }).listen(Number(port), host, () => process.stdout.write(`listening ${one}\n`));
}
