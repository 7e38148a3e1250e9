// 100 endpoint changes a second through mailbox, loop and driver; then: does the kernel hold what it must?
//   node test/bench/churn-program.ts --mode iptables_nft --services 5000 --per-second 100 --seconds 60
import { parseArgs } from "node:util";
import { median, percentile } from "./bench.ts";
import { modesOf } from "./modes.ts";
import { openSandbox } from "./sandbox.ts";

const { values } = parseArgs({
  options: {
    mode: { type: "string", default: "" },
    services: { type: "string", default: "5000" },
    "per-second": { type: "string", default: "100" },
    seconds: { type: "string", default: "60" },
  },
});
const [mode] = modesOf([values.mode]);
if (!mode) throw new Error("which --mode?");
const [services, perSecond, seconds] = [values.services, values["per-second"], values.seconds].map(Number) as [number, number, number];

await using churned = await openSandbox();
const { lagMs, cpuShare, failures } = await churned.ask({ op: "churn", mode, services, perSecond, seconds });
if (failures.length > 0) throw new Error(`${failures.length} failures, the first: ${failures[0] ?? ""}`);
if (lagMs.length !== perSecond * seconds) throw new Error(`${perSecond * seconds} changes, and ${lagMs.length} of them applied`);

// A second kernel that is told the last state at once must hold the same.
await using fresh = await openSandbox();
await fresh.ask({ op: "sync", mode, services, changes: perSecond * seconds, silent: true });
const want = new Set((await fresh.ask({ op: "dump", mode })).lines);
const held = new Set((await churned.ask({ op: "dump", mode })).lines);
const wrong = held.symmetricDifference(want);
if (wrong.size > 0)
  throw new Error(
    `the kernel holds ${held.size} lines, and not the ${want.size} that it must; ${wrong.size} differ, such as ${[...wrong][0] ?? ""}`,
  );

process.stdout.write(
  `${JSON.stringify({ lag_p50_ms: median(lagMs), lag_p99_ms: percentile(lagMs, 0.99), lag_max_ms: Math.max(...lagMs), cpu_share: cpuShare, lost: 0 })}\n`,
);
