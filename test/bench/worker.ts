// The program of a sandbox: reads requests as lines of JSON on standard input, answers each with a line on standard output, and ends with its input.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { execa } from "execa";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import { churn, type ChurnRequest, type Churned } from "./churn-loop.ts";
import { emptyHookOf, openDriver, type Mode } from "./modes.ts";
import { openConnector, type Connector, type Connected, type Target } from "./connector.ts";
import { dumpOf } from "./dump.ts";
import { openRecordingTools, type Told } from "./recording.ts";
import { changeOf, tableOf } from "./ten-thousand.ts";
import { childrenOf, cpuMs, peakMb } from "./usage.ts";

interface Operations {
  /** The driver's full program of so many services. `silent`: without the text, which takes memory of its own. */
  sync: {
    request: { mode: Mode; services: number; backends?: [number, number[]][]; changes?: number; silent?: boolean };
    answer: Timed & { told: readonly Told[] };
  };
  /** One endpoint change by the driver. */
  change: { request: { round: number; services: number }; answer: Timed & { told: readonly Told[] } };
  /** The bare tools, given the same text. `watch`: their peak memory instead of an honest time. */
  bare: { request: { told: readonly Told[]; watch?: boolean }; answer: Timed & { peakMb: number } };
  cleanup: { request: { mode: Mode }; answer: { removed: number } };
  /** Of the worker itself, the driver and its table in it, since it started; processor time with the tools that have ended. */
  usage: { request: object; answer: { cpuMs: number; peakMb: number } };
  dump: { request: { mode: Mode }; answer: { lines: readonly string[] } };
  /** What the kernel has on a host whose rules translate nothing: connection tracking is on. */
  emptyHook: { request: { mode: Mode }; answer: object };
  connect: { request: { targets: readonly Target[]; count: number }; answer: { results: readonly Connected[] } };
  churn: { request: ChurnRequest; answer: Churned };
}

interface Timed {
  readonly ms: number;
  /** In steps of 10 ms. */
  readonly cpuMs: number;
}

export type Request = { [Op in keyof Operations]: { op: Op } & Operations[Op]["request"] }[keyof Operations];
export type Answer<R extends Request> = Operations[R["op"]]["answer"];

const signal = new AbortController().signal;
const stateDir = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
process.once("exit", () => rmSync(stateDir, { recursive: true, force: true })); // also when something throws
const { tools, take, setRecording } = openRecordingTools();
let driver: DataplaneDriver | undefined;
let connector: Connector | undefined;

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await answerTo(JSON.parse(line) as Request); // from our own sandbox.ts
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
driver?.close();
connector?.close();

async function answerTo(request: Request): Promise<Answer<Request>> {
  switch (request.op) {
    case "sync": {
      driver?.close();
      const fresh = await openDriver(request.mode, tools, stateDir);
      driver = fresh;
      const { services, changes = 0 } = request;
      const table = tableOf(services, { changes, backends: new Map(request.backends) });
      await fresh.probe(signal); // what it finds out about the host once
      take();
      setRecording(request.silent !== true);
      return timed(async () => fresh.sync(table, signal)).then((took) => ({ ...took, told: take() }));
    }
    case "change": {
      const held = driver;
      if (!held) throw new Error("a change before the first sync");
      const changes = [changeOf(request.round, request.services)];
      return timed(async () => held.update(changes, signal)).then((took) => ({ ...took, told: take() }));
    }
    case "bare":
      return bare(request.told, request.watch === true);
    case "cleanup": {
      driver?.close();
      driver = undefined;
      const cleaner = await openDriver(request.mode, tools, stateDir);
      const removed = await cleaner.cleanup({ dryRun: false }, signal);
      return { removed: removed.length };
    }
    case "usage":
      return { cpuMs: await cpuMs(process.pid), peakMb: await peakMb(process.pid) };
    case "dump":
      return { lines: await dumpOf(tools, request.mode) };
    case "emptyHook":
      await tools.run(...emptyHookOf(request.mode));
      return {};
    case "connect":
      connector ??= await openConnector();
      return { results: await connector.measure(request.targets, request.count) };
    case "churn":
      return churn(request, await openDriver(request.mode, tools, stateDir));
  }
}

async function timed(work: () => Promise<void>): Promise<Timed> {
  const cpuBefore = await cpuMs(process.pid);
  const startedAt = performance.now();
  await work();
  return { ms: performance.now() - startedAt, cpuMs: (await cpuMs(process.pid)) - cpuBefore };
}

async function bare(told: readonly Told[], watch: boolean): Promise<Timed & { peakMb: number }> {
  let peak = 0;
  let watching = watch;
  const watched = (async () => {
    while (watching) {
      for (const pid of await childrenOf(process.pid)) peak = Math.max(peak, (await peakMb(pid)) || 0);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  const took = await timed(async () => {
    for (const { file, args, input } of told) await execa(file, args, { input });
  });
  watching = false;
  await watched;
  return { ...took, peakMb: peak };
}
