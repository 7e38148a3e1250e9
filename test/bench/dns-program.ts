// All of `bench dns`, in network and pid namespaces of its own; prints its figures as one line of JSON.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median, medianRatio, percentile } from "./bench.ts";
import { answers, startDnsmasq, startOurs, startUnbound, type Served } from "./dns-servers.ts";
import { dnsAddressOf, dnsNameOf } from "./dns-zone.ts";
import { dnsperf, type PerfOptions } from "./dnsperf.ts";
import { cpuMs, rssMb, threadsCpuMs } from "./usage.ts";

const SERVICES = 10_000;
const ASKED = 5000;
const OTHERS = 200_000;
const PORT = { ours: 5301, dnsmasq: 5302, unbound: 5303, oursForward: 5304, dnsmasqForward: 5305, upstream: 5400, one: 5311, two: 5312 };
/** Questions a second for each thread; the load has time for twice as many beside two of them. */
const PER_THREAD = 20_000;
/** Server and load each have a processor, so that the one does not take the other's time. */
const [SERVER_CPU, LOAD_CPU] = ["0", "1"];

const rounds = Number(process.argv[2] ?? 3);
const folder = mkdtempSync(join(tmpdir(), "fairlead-bench-dns-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
const env = { ...process.env, NODE_COMPILE_CACHE: join(folder, "compiled") };
execFileSync("ip", ["link", "set", "lo", "up"]);

const files = { hits: join(folder, "hits"), others: join(folder, "others"), hosts: join(folder, "hosts") };
const asked = Array.from({ length: ASKED }, (_, i) => dnsNameOf(i % 10 === 9 ? `-none-${i}` : (i * 2) % SERVICES));
await writeFile(files.hits, asked.map((name) => `${name} A\n`).join(""));
await writeFile(files.others, Array.from({ length: OTHERS }, (_, i) => `n${i}.up.test A\n`).join(""));
await writeFile(files.hosts, Array.from({ length: SERVICES }, (_, i) => `${dnsAddressOf(i)} ${dnsNameOf(i)}\n`).join(""));

let lost = 0;
let oursLost = 0;
/** Processor time a query, in µs. */
async function costOf({ pid, port }: Served, options: Pick<PerfOptions, "file" | "seconds">): Promise<number> {
  await dnsperf({ port, ...options, seconds: 1, cpu: LOAD_CPU });
  const before = await cpuMs(pid);
  const perf = await dnsperf({ port, ...options, cpu: LOAD_CPU });
  lost += perf.lost;
  if (port === PORT.ours || port === PORT.oursForward) oursLost += perf.lost;
  return (((await cpuMs(pid)) - before) * 1000) / perf.completed;
}

const figures: Record<string, number> = {};
await costs();
await churnAndMemory();
await twoListeners();
figures["first_answer_ms"] = await firstAnswerMs();
figures["lost"] = oursLost;
console.error(`lost by all servers together: ${lost}`);
process.stdout.write(`${JSON.stringify(figures)}\n`);

async function costs(): Promise<void> {
  await using upstream = await startUnbound(PORT.upstream, folder, 1, LOAD_CPU);
  await using ours = await startOurs(PORT.ours, ["--services", String(SERVICES)], env, SERVER_CPU);
  await using dnsmasq = await startDnsmasq(PORT.dnsmasq, files.hosts, undefined, SERVER_CPU);
  await using unbound = await startUnbound(PORT.unbound, folder, SERVICES, SERVER_CPU);
  await using oursForward = await startOurs(PORT.oursForward, ["--services", "1", "--upstream", String(upstream.port)], env, SERVER_CPU);
  await using dnsmasqForward = await startDnsmasq(PORT.dnsmasqForward, files.hosts, upstream.port, SERVER_CPU);
  const measured: Record<string, number[]> = {};
  for (let round = 1; round <= rounds; round++) {
    console.error(`round ${round} of ${rounds}`);
    for (const [name, server, file] of [
      ["cached_cpu_us", ours, files.hits],
      ["dnsmasq_cached_cpu_us", dnsmasq, files.hits],
      ["unbound_cached_cpu_us", unbound, files.hits],
      ["forwarded_cpu_us", oursForward, files.others],
      ["dnsmasq_forwarded_cpu_us", dnsmasqForward, files.others],
    ] as const)
      (measured[name] ??= []).push(await costOf(server, { file, seconds: 3 }));
  }
  for (const [name, values] of Object.entries(measured)) figures[name] = median(values);
  console.error(JSON.stringify(measured));
}

/** Latency at 1,000 queries a second, with and without 100 changes a second, in turns. */
async function churnAndMemory(): Promise<void> {
  await using ours = await startOurs(PORT.ours, ["--services", String(SERVICES)], env);
  await dnsperf({ port: ours.port, file: files.hits, seconds: 2 });
  figures["rss_mb"] = await rssMb(ours.pid);
  const [idle, busy]: [number[], number[]] = [[], []];
  await dnsperf({ port: ours.port, file: files.hits, seconds: 2, perSecond: 1000, latencies: true }); // the first of these is always slow
  for (let round = 1; round <= rounds; round++) {
    for (const [changes, p99s] of [
      [0, idle],
      [100, busy],
    ] as const) {
      ours.say(`churn ${changes}`);
      const { latenciesMs, lost: gone } = await dnsperf({
        port: ours.port,
        file: files.hits,
        seconds: 4,
        perSecond: 1000,
        latencies: true,
      });
      oursLost += gone;
      p99s.push(percentile(latenciesMs, 0.99));
    }
  }
  console.error(`p99 idle ${idle.join(" ")} ms, while 100 changes a second come ${busy.join(" ")} ms`);
  figures["churn_p99_ratio"] = medianRatio(busy, idle);
}

/** What two threads answer to what one does, where each has a processor to itself. */
async function twoListeners(): Promise<void> {
  await using one = await startOurs(PORT.one, ["--services", "1000"], env);
  await using two = await startOurs(PORT.two, ["--services", "1000", "--members", "2"], env);
  const [ones, twos]: [number[], number[]] = [[], []];
  for (let round = 0; round <= rounds; round++)
    for (const [server, perSecond, found] of [
      [one, PER_THREAD, ones],
      [two, 2 * PER_THREAD, twos],
    ] as const) {
      const rate = await perBusySecond(server, perSecond);
      if (round > 0) found.push(rate); // the first compiles
    }
  figures["two_listeners_ratio"] = medianRatio(twos, ones);
}

/**
 * Queries by processor second of the busiest thread: as many as would be answered a second if each thread had a processor to itself, which they have not
 * here, where the load takes its part. One thread is given half of what two are: how much a query costs depends on how many come at once.
 */
async function perBusySecond({ pid, port }: Served, wanted: number): Promise<number> {
  const before = await threadsCpuMs(pid);
  // From so many ports: the kernel shares them out by their number.
  const { completed, lost: gone, perSecond } = await dnsperf({ port, file: files.hits, seconds: 4, clients: 250, perSecond: wanted });
  const busy = Array.from(await threadsCpuMs(pid), ([thread, ms]) => ms - (before.get(thread) ?? 0)).toSorted((a, b) => b - a);
  console.error(`${perSecond.toFixed(0)} of ${wanted} a second; threads worked ${busy.slice(0, 3).join(", ")} ms`);
  oursLost += gone;
  return (completed * 1000) / (busy[0] ?? NaN);
}

/** From the start of the process to the first right answer, with an agent's state and names on disk. */
async function firstAnswerMs(): Promise<number> {
  const state = join(folder, "state");
  execFileSync(process.execPath, [join(import.meta.dirname, "dns-state.ts"), state, String(SERVICES)], { env });
  const took: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const startedMs = performance.now();
    const child = spawn(process.execPath, [join(import.meta.dirname, "dns-server.ts"), "--port", "5320", "--state", state], {
      env,
      stdio: ["pipe", "ignore", "inherit"],
    });
    while (!(await answers(5320, child))) await new Promise((resolve) => setTimeout(resolve, 2));
    if (round > 0) took.push(performance.now() - startedMs); // the first compiles, and saves the names
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.stdin.end();
    await ended;
  }
  return median(took);
}
