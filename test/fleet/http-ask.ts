// An HTTP client for tests and the demo:  node test/fleet/http-ask.ts --url http://10.96.0.10/ --requests 200 [--every-ms 5] [--timeout-ms 2000]
// Each request is a new connection. Prints one JSON line: { "answers": { "web-1": 98, … }, "failures": { "ECONNREFUSED": 2 }, "slowest_ms": 3.1 },
// where an answer counts under its first word (http-echo's id).
import { get } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1/" },
    requests: { type: "string", default: "1" },
    "every-ms": { type: "string", default: "0" },
    "timeout-ms": { type: "string", default: "2000" },
  },
});

async function ask(): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const signal = AbortSignal.timeout(Number(values["timeout-ms"]));
  get(values.url, { agent: false, signal }, (response) => {
    text(response).then(
      (body) => (response.statusCode === 200 ? resolve(body) : reject(new Error(`HTTP ${response.statusCode ?? "?"}`))),
      reject,
    );
  }).once("error", reject);
  return promise;
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "AbortError" || error.name === "TimeoutError") return "timeout";
  return "code" in error ? String(error.code) : error.message;
}

const answers: Record<string, number> = {};
const failures: Record<string, number> = {};
let slowest = 0;
for (let asked = 0; asked < Number(values.requests); asked += 1) {
  const start = performance.now();
  try {
    const who = (await ask()).split(/\s/)[0] ?? "";
    answers[who] = (answers[who] ?? 0) + 1;
  } catch (error) {
    failures[reason(error)] = (failures[reason(error)] ?? 0) + 1;
  }
  slowest = Math.max(slowest, performance.now() - start);
  await delay(Number(values["every-ms"]));
}
process.stdout.write(`${JSON.stringify({ answers, failures, slowest_ms: Math.round(slowest * 10) / 10 })}\n`);
