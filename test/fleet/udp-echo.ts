// A UDP workload for tests:  node test/fleet/udp-echo.ts --listen 172.30.0.1:5300 --id log-1   (--listen may be repeated)
// Answers each datagram with "log-1 CLIENT:PORT TEXT". Prints "listening ADDR:PORT" for each address.
import { createSocket } from "node:dgram";
import { parseArgs } from "node:util";
import { clientAddress, parseListen } from "./listen.ts";

const { values } = parseArgs({
  options: { listen: { type: "string", multiple: true, default: [] }, id: { type: "string", default: "echo" } },
});

for (const { host, port } of values.listen.map(parseListen)) {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("message", (message, from) => {
    socket.send(`${values.id} ${clientAddress(from.address)}:${from.port} ${message.toString()}`, from.port, from.address);
  });
  socket.bind({ address: host, port }, () => {
    const { address, port: bound } = socket.address();
    process.stdout.write(`listening ${address}:${bound}\n`);
  });
}
