/**
 * `fairlead demo`: the main job, on three hosts that are network namespaces of this machine, with the real server, agents and CLI. Its own
 * network is never touched. Exit 0 only if every step held.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { execa } from "execa";
import { describeError } from "#proto/error.ts";
import { createFleet } from "../fleet/fleet.ts";
import { removeFleet, standingOf, stateFolder } from "../fleet/teardown.ts";
import { keptText } from "./kept.ts";
import { createReport, type Report } from "./report.ts";
import { playTheMainJob, root, type Stage } from "./steps.ts";

const HELP = `Usage: sudo fairlead demo [--keep] [--json]

Shows the main job on three hosts, which are network namespaces of this machine: server, agents, a service with
two workloads, its name and its virtual IP; then kills a workload, stops the server, flushes the firewall, cleans up.
Your own network is never touched. Exit code 0 only if every step held.

  --keep    leave the three hosts up at the end and say how to play with them
  --json    print one JSON object with the figures instead of text
  --down    take away what an earlier --keep left

Exit code: 0 every step held, 1 one did not or a demo is up already, 2 the command line is wrong.

Examples:
  sudo fairlead demo
  sudo fairlead demo --keep
  sudo fairlead demo --json | jq .results
`;

const FLEET = "demo";

const FLAGS = {
  keep: { type: "boolean", default: false },
  json: { type: "boolean", default: false },
  down: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;
type Options = Readonly<Record<keyof typeof FLAGS, boolean>>;

// Whoever read our output has enough (`| head`): the steps go on to their end, and take away what they made.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });

const options = readOptions();
process.exitCode = options ? await main(options) : 2;

/** undefined: it has said what is wrong. */
function readOptions(): Options | undefined {
  try {
    return parseArgs({ options: FLAGS }).values;
  } catch (error) {
    const [what = ""] = describeError(error).split(". ");
    console.error(`error: ${what}\nhint: fairlead demo --help tells what there is`);
    return undefined;
  }
}

async function main(options: Options): Promise<number> {
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (process.getuid?.() !== 0) {
    console.error("error: the demo makes network namespaces, and that takes root\nhint: sudo ./fairlead demo");
    return 1;
  }
  const standing = await standingOf(FLEET);
  if (options.down) {
    await removeFleet(FLEET);
    process.stdout.write(standing === "none" ? "there is no demo up\n" : "the demo's hosts are gone\n");
    return 0;
  }
  if (standing === "kept" || standing === "running") {
    const what = standing === "kept" ? "the hosts of an earlier demo --keep are still up" : "another demo is running";
    console.error(`error: ${what}, and this one would take their place\nhint: sudo ./fairlead demo --down takes them away`);
    return 1;
  }
  const setup = await execa("sh", [join(root, "tools/setup.sh"), "packages"], { stdio: ["ignore", "inherit", "inherit"], reject: false });
  if (setup.exitCode !== 0) return setup.exitCode ?? 1;
  const report = createReport({ json: options.json, colour: process.stdout.isTTY });
  // Programs of the fleet do not keep this process alive; waiting for one of them to end must.
  const alive = setInterval(() => undefined, 60_000);
  let failure: unknown;
  try {
    await play(report, options);
  } catch (error) {
    failure = error;
  } finally {
    clearInterval(alive);
  }
  if (options.json)
    process.stdout.write(`${JSON.stringify({ bench: "demo", ok: failure === undefined, results: report.figures, steps: report.steps })}\n`);
  if (failure === undefined) return 0;
  console.error(`error: a step did not hold: ${describeError(failure)}`);
  return 1;
}

async function play(report: Report, options: Options): Promise<void> {
  await mkdir(stateFolder, { recursive: true });
  await using fleet = await report.step("three hosts on one switch, each with a container", () =>
    createFleet({ hosts: 3, containersPerHost: 1, name: FLEET }),
  );
  const stopped = new AbortController();
  const stop = (): void => stopped.abort(new Error("interrupted"));
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  process.once("SIGHUP", stop);
  const stage: Stage = { fleet, report, signal: stopped.signal };
  const running = await playTheMainJob(stage, { keep: options.keep });
  if (options.keep) await fleet.keep();
  if (options.json) return;
  process.stdout.write(`All ${report.steps.length} steps held.\n`);
  if (options.keep) process.stdout.write(keptText(stage, running, root));
}
