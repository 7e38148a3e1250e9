// Runs inside a host of the fleet:  node test/bench/prober.ts --control /tmp/x.sock --name h3
// Waits on the control socket for lines {"expect": ID, "address": IP, "port": N}; then opens new connections to there, one after the other, until one is
// answered by ID; says {"name", "id", "at"} with the wall clock in ms (all hosts of a fleet are one machine with one clock).
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    control: { type: "string", default: "" },
    name: { type: "string", default: "" },
    "pause-ms": { type: "string", default: "0" },
  },
});
const GIVE_UP_MS = 10_000;

/** The first bytes that a new connection gets, or undefined when there is none. */
async function whoAnswers(host: string, port: number): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const socket = connect({ host, port });
  const timer = setTimeout(() => done(undefined), 250);
  const done = (answer: string | undefined): void => {
    clearTimeout(timer);
    socket.destroy();
    resolve(answer);
  };
  socket.once("data", (bytes) => done(bytes.toString("utf8").trim()));
  socket.once("error", () => done(undefined));
  return promise;
}

const control = connect(values.control);
control.write(`${JSON.stringify({ name: values.name })}\n`);
for await (const line of createInterface({ input: control })) {
  const { expect, address, port } = JSON.parse(line) as { expect: string; address: string; port: number }; // from our own driver
  const end = performance.now() + GIVE_UP_MS;
  while (performance.now() < end && (await whoAnswers(address, port)) !== expect) await delay(Number(values["pause-ms"]));
  control.write(`${JSON.stringify({ name: values.name, id: expect, at: performance.timeOrigin + performance.now() })}\n`);
}
