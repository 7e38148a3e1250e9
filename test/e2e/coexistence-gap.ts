// New connections to a URL, one after the other, for some time:  node test/e2e/coexistence-gap.ts --url http://10.96.0.10/ --for-ms 4000
// Prints "running" when the first was answered, and at the end { "longest_gap_ms": the longest time from one answer to the next, "answers": how many }.
import { get } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { url: { type: "string", default: "" }, "for-ms": { type: "string", default: "4000" } } });
const EVERY_MS = 5;
const ANSWER_WITHIN_MS = 200;

async function answered(): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const request = get(values.url, { agent: false, timeout: ANSWER_WITHIN_MS }, (response) => {
    response.resume();
    response.once("end", () => resolve(true));
  });
  request.once("timeout", () => request.destroy());
  request.once("close", () => resolve(false)); // after an end it is too late to matter
  request.once("error", () => resolve(false));
  return promise;
}

let answers = 0;
let longestMs = 0;
let lastAt: number | undefined;
const endAt = performance.now() + Number(values["for-ms"]);
while (performance.now() < endAt || lastAt === undefined) {
  if (await answered()) {
    answers++;
    if (lastAt === undefined) process.stdout.write("running\n");
    else longestMs = Math.max(longestMs, performance.now() - lastAt);
    lastAt = performance.now();
  }
  await delay(EVERY_MS);
}
longestMs = Math.max(longestMs, performance.now() - lastAt);
process.stdout.write(`${JSON.stringify({ longest_gap_ms: longestMs, answers })}\n`);
