// Full programs and single changes by the real driver, and by the bare tools given the same text, in turns and in namespaces of their own:
//   node test/bench/sync-program.ts --mode iptables_nft --services 10000 --fulls 5 --again 3 --changes 50
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { median, percentile } from "./bench.ts";
import { modesOf } from "./modes.ts";
import { openSandbox } from "./sandbox.ts";

const { values } = parseArgs({
  options: {
    mode: { type: "string", default: "" },
    services: { type: "string", default: "10000" },
    fulls: { type: "string", default: "5" },
    again: { type: "string", default: "3" },
    changes: { type: "string", default: "50" },
  },
});
const [mode] = modesOf([values.mode]);
if (!mode) throw new Error("which --mode?");
const services = Number(values.services);
/** Changes come one by one, as people and checks make them. */
const BETWEEN_MS = 60;

type Took = Record<"ms" | "cpuMs", number>;

/** The kernel takes a namespace away beside what comes next, for as long as that. */
const TAKEN_AWAY_MS = 2_000;

const driverPeakMb = await peakOfDriver();
const fullBare: Took[] = [];
const first: Took[] = [];
let toolPeakMb = NaN;
for (let round = 0; round < Number(values.fulls); round++) {
  await delay(TAKEN_AWAY_MS);
  await using fresh = await openSandbox();
  const { told, ...took } = await fresh.ask({ op: "sync", mode, services });
  first.push(took);
  // A kernel remembers what it held (IPVS has each endpoint that went for two minutes): it has never had anything either.
  await using fair = await openSandbox();
  fullBare.push(await fair.ask({ op: "bare", told }));
  if (round > 0) continue;
  await using watched = await openSandbox();
  toolPeakMb = (await watched.ask({ op: "bare", told, watch: true })).peakMb;
}

await using ours = await openSandbox();
await using bare = await openSandbox();
const again: Took[] = [];
for (let round = -1; round < Number(values.again); round++) {
  await ours.ask({ op: "cleanup", mode });
  const { told, ...took } = await ours.ask({ op: "sync", mode, services });
  if (round >= 0) again.push(took);
  await bare.ask({ op: "cleanup", mode });
  await bare.ask({ op: "bare", told }); // which is what the changes begin with
}

const change: number[] = [];
const changeBare: number[] = [];
const cpuBefore = (await ours.ask({ op: "usage" })).cpuMs;
const bareCpuBefore = (await bare.ask({ op: "usage" })).cpuMs;
for (let round = 1; round <= Number(values.changes); round++) {
  await delay(BETWEEN_MS);
  const { ms, told } = await ours.ask({ op: "change", round, services });
  change.push(ms);
  changeBare.push((await bare.ask({ op: "bare", told })).ms);
}
const usage = await ours.ask({ op: "usage" });
const bareUsage = await bare.ask({ op: "usage" });
const figures = {
  full_s: median(first.map(({ ms }) => ms)) / 1000,
  ...(again.length > 0 && { full_again_s: median(again.map(({ ms }) => ms)) / 1000 }),
  full_bare_s: median(fullBare.map(({ ms }) => ms)) / 1000,
  full_cpu_s: median(first.map(({ cpuMs }) => cpuMs)) / 1000,
  full_bare_cpu_s: median(fullBare.map(({ cpuMs }) => cpuMs)) / 1000,
  change_p50_ms: median(change),
  change_p99_ms: percentile(change, 0.99),
  change_bare_ms: median(changeBare),
  change_cpu_ms: (usage.cpuMs - cpuBefore) / change.length,
  change_bare_cpu_ms: (bareUsage.cpuMs - bareCpuBefore) / change.length,
  driver_peak_mb: driverPeakMb,
  tool_peak_mb: toolPeakMb,
};
process.stdout.write(`${JSON.stringify(figures)}\n`);

/** Of a process that has the driver and its table, and nothing of this bench. */
async function peakOfDriver(): Promise<number> {
  if (!mode) return NaN;
  await using sandbox = await openSandbox();
  await sandbox.ask({ op: "sync", mode, services, silent: true });
  return (await sandbox.ask({ op: "usage" })).peakMb;
}
