// Runs on the server's host: changes a workload again and again, and measures from the API's answer until a new connection through the virtual IP
// reaches the changed workload on every host that has a prober.
//   node test/bench/propagation-driver.ts --kubeconfig F --control /tmp/x.sock --probers 20 --rounds 200 --address 10.96.1.2 --ports 9001=a,9002=b
// Prints one JSON line: { "live_ms": [of the last host, per round] }
import { rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createClient } from "#proto/client.ts";
import { waitFor } from "../wait-for.ts";
import { connectionOf } from "./server.ts";

const { values } = parseArgs({
  options: {
    kubeconfig: { type: "string", default: "" },
    control: { type: "string", default: "" },
    probers: { type: "string", default: "1" },
    rounds: { type: "string", default: "100" },
    address: { type: "string", default: "" },
    ports: { type: "string", default: "" },
    slice: { type: "string", default: "" }, // change this hand-made slice instead of the workload "mover"
  },
});

const sockets: Socket[] = [];
let seen: number[] = [];
const server = createServer((socket) => {
  socket.on("error", () => socket.destroy());
  createInterface({ input: socket }).on("line", (line) => {
    const { at } = JSON.parse(line) as { at?: number }; // from our own prober
    if (at === undefined) sockets.push(socket);
    else seen.push(at);
  });
});
await rm(values.control, { force: true });
server.listen(values.control);
await waitFor(() => sockets.length === Number(values.probers), { what: `${values.probers} probers`, timeoutMs: 60_000 });

const client = createClient(await connectionOf(values.kubeconfig));
async function moveTo(port: number): Promise<void> {
  const namespace = "default";
  if (values.slice === "")
    await client.patch("Workload", "mover", { spec: { ports: [{ name: "tcp", port, protocol: "TCP" }] } }, { namespace });
  else await client.patch("EndpointSlice", values.slice, { ports: [{ name: "http", port, protocol: "TCP" }] }, { namespace });
}

const targets = values.ports.split(",").map((text) => text.split("="));
/** Changes come one by one, as people and checks make them, and not as fast as they can be measured. */
const BETWEEN_MS = 200;
const liveMs: number[] = [];
for (let round = 0; round < Number(values.rounds); round++) {
  const [port = "", id = ""] = targets[round % targets.length] ?? [];
  seen = [];
  for (const socket of sockets) socket.write(`${JSON.stringify({ expect: id, address: values.address, port: 80 })}\n`);
  await moveTo(Number(port));
  const answeredAt = performance.timeOrigin + performance.now();
  await waitFor(() => seen.length === sockets.length, { what: `every host to reach ${id}`, timeoutMs: 15_000, intervalMs: 2 });
  liveMs.push(Math.max(...seen) - answeredAt);
  await delay(BETWEEN_MS);
}
process.stdout.write(`${JSON.stringify({ live_ms: liveMs })}\n`);
for (const socket of sockets) socket.end();
server.close();
await client.close();
