// New TCP connections at a steady pace, each of which must be greeted:  node test/bench/load.ts --to 10.96.1.2:80 --per-second 500
// Ends at SIGTERM, when the last has been answered, and prints { "connections", "failed", "slow": answered, but after 200 ms or more, "slowest_ms",
// "failures": { WHY: how many } }. Many slow ones are a busy machine; failures without slow ones are packets that went nowhere.
import { connect } from "node:net";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { to: { type: "string", default: "" }, "per-second": { type: "string", default: "500" } } });
const [host = "", port = ""] = values.to.split(":");
/** Less than the second after which a lost packet is sent again: that would be a connection that waited, and the user saw it. */
const ANSWER_WITHIN_MS = 900;
const SLOW_MS = 200;

const failures: Record<string, number> = {};
const running = new Set<Promise<void>>();
let connections = 0;
let slowestMs = 0;
let slow = 0;
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());

async function one(): Promise<void> {
  const startedAt = performance.now();
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const socket = connect({ host, port: Number(port) });
  const timer = setTimeout(() => resolve("no answer in time"), ANSWER_WITHIN_MS);
  socket.once("data", () => resolve(undefined));
  socket.once("end", () => resolve("closed without a word"));
  socket.once("error", (error) => resolve("code" in error ? String(error.code) : error.message));
  const failure = await promise;
  clearTimeout(timer);
  socket.destroy();
  socket.on("error", () => undefined);
  if (failure !== undefined) failures[failure] = (failures[failure] ?? 0) + 1;
  const tookMs = performance.now() - startedAt;
  if (failure === undefined && tookMs >= SLOW_MS) slow++;
  slowestMs = Math.max(slowestMs, tookMs);
}

const startedAt = performance.now();
process.stdout.write("running\n");
while (!stop.signal.aborted) {
  const due = Math.floor(((performance.now() - startedAt) / 1000) * Number(values["per-second"]));
  for (; connections < due; connections++) {
    const work = one();
    running.add(work);
    void work.finally(() => running.delete(work));
  }
  await new Promise((resolve) => setTimeout(resolve, 2));
}
await Promise.all(running);
const failed = Object.values(failures).reduce((sum, count) => sum + count, 0);
process.stdout.write(`${JSON.stringify({ connections, failed, slow, slowest_ms: slowestMs, failures })}\n`);
