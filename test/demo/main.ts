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
import { removeFleet, stateFolder } from "../fleet/teardown.ts";
import { createReport, type Report } from "./report.ts";
import { playTheMainJob, root, type Stage } from "./steps.ts";

const HELP = `Usage: sudo fairlead demo [--keep] [--json]

Shows the main job on three hosts, which are network namespaces of this machine: server, agents, a service with
two workloads, its name and its virtual IP; then kills a workload, stops the server, flushes the firewall, cleans up.
Your own network is never touched. Exit code 0 only if every step held.

  --keep    leave the three hosts up at the end and say how to play with them
  --json    print one JSON object with the figures instead of text
  --down    take away what an earlier --keep left

Examples:
  sudo fairlead demo
  sudo fairlead demo --keep
  sudo fairlead demo --json | jq .results
`;

const FLEET = "demo";

const { values: options } = parseArgs({
  options: {
    keep: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    down: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

process.exitCode = await main();

async function main(): Promise<number> {
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (process.getuid?.() !== 0) {
    console.error("error: the demo makes network namespaces, and that takes root\nhint: sudo ./fairlead demo");
    return 1;
  }
  if (options.down) {
    await removeFleet(FLEET);
    return 0;
  }
  const setup = await execa("sh", [join(root, "tools/setup.sh"), "packages"], { stdio: ["ignore", "inherit", "inherit"], reject: false });
  if (setup.exitCode !== 0) return setup.exitCode ?? 1;
  const report = createReport({ json: options.json, colour: process.stdout.isTTY });
  // Programs of the fleet do not keep this process alive; waiting for one of them to end must.
  const alive = setInterval(() => undefined, 60_000);
  let failure: unknown;
  try {
    await play(report);
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

async function play(report: Report): Promise<void> {
  await mkdir(stateFolder, { recursive: true });
  await using fleet = await report.step("three hosts on one switch, each with a container", () =>
    createFleet({ hosts: 3, containersPerHost: 1, name: FLEET }),
  );
  const stopped = new AbortController();
  const stop = (): void => stopped.abort(new Error("interrupted"));
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  const stage: Stage = { fleet, report, signal: stopped.signal };
  await playTheMainJob(stage, { keep: options.keep });
  if (!options.keep) return;
  await fleet.keep();
  if (options.json) return;
  const [h1, , h3] = fleet.hosts;
  process.stdout.write(`
The three hosts stay up. A shell on one of them, and what to try there:
  ${h3.enter.join(" ")} bash
    curl http://web.default.svc.cluster.local
    dig web.default.svc.cluster.local
  ${h1.enter.join(" ")} bash                  # the server's host: the admin's credential is here
    ${root}/fairlead status
    ${root}/fairlead get services,endpointslices -o wide
    ${root}/fairlead describe service web
Take them away again:  sudo ${root}/fairlead demo --down
`);
}
