import { readdir, readFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { ForwardingTable } from "#agent/compile/table.ts";
import { openFlowCleaner } from "#agent/dataplane/conntrack.ts";
import { openKernelTools, type KernelTools } from "#agent/dataplane/exec.ts";
import { createNftablesDriver } from "#agent/dataplane/nftables/driver.ts";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { askHttp } from "./dataplane-rig.ts";
import { listed, nftablesOn } from "./nftables-rig.ts";

/** An agent, or its tool, dies while it writes: all of a write or nothing of it is in the kernel. */

const signal = new AbortController().signal;
const VIP = "10.96.0.10";

let fleet: Fleet<readonly [Host, Host]>;
let a: Host;
let b: Host;

beforeAll(async () => {
  fleet = await createFleet({ hosts: 2 });
  [a, b] = fleet.hosts;
  const http = await b.spawn("node", ["test/fleet/http-echo.ts", "--id", "b", "--listen", `${b.ip}:8080`]);
  await http.waitForLine(/^listening/);
});
afterAll(() => fleet[Symbol.asyncDispose]());

/** The one that is asked, and many others, so that the text is long. */
function tableOf(others: number): ForwardingTable {
  const ofOther = (i: number) => {
    const address = `10.96.${1 + Math.floor(i / 200)}.${1 + (i % 200)}`;
    return aCompiled([aFrontend({ id: `default/other-${i}`, address, backends: [aBackend(b.ip)] })], `default/other-${i}`);
  };
  return aTable([aCompiled([aFrontend({ backends: [aBackend(b.ip)] })]), ...Array.from({ length: others }, (_, i) => ofOther(i))]);
}

/** The real driver, whose tools say what they are given before they run. */
function recorded(onInput: (input: string, tools: KernelTools) => Promise<void>) {
  const tools = openKernelTools({ enter: a.enter });
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const told: KernelTools = {
    has: (file) => tools.has(file),
    read: (file) => tools.read(file),
    run: async (file, args, options) => {
      if (file === "nft" && args.join(" ") === "-f -") await onInput(options?.input ?? "", tools);
      return tools.run(file, args, options);
    },
  };
  const sysctls = { ensure: async () => [], restore: async () => [] };
  const driver = createNftablesDriver({
    family: "IPv4",
    tools: told,
    log,
    flows: openFlowCleaner({ family: "IPv4", tools, log }),
    sysctls,
  });
  onTestFinished(() => driver.close());
  return driver;
}

test("half of what the tool is given changes nothing, wherever it is cut", async () => {
  let halves = 0;
  let isAsked = false;
  const driver = recorded(async (input, tools) => {
    if (!isAsked) return;
    const before = await listed(a, "ours");
    const last = input.trimEnd().length;
    // Anywhere, and where a line ends: there what was cut off is not missed by the syntax.
    const cuts = Array.from({ length: 12 }, (_, i) => Math.ceil(((last - 1) * (i + 1)) / 12));
    for (const at of cuts.slice(0, -1)) if (input.indexOf("\n", at) < last) cuts.push(input.indexOf("\n", at) + 1);
    for (const cut of cuts) {
      const half = input.slice(0, cut);
      await expect(tools.run("nft", ["-f", "-"], { input: half }), half.slice(-40)).rejects.toThrow(/nft -f -/);
      halves++;
    }
    expect(await listed(a, "ours")).toBe(before);
  });
  await driver.sync(tableOf(300), signal);
  isAsked = true;
  await driver.sync(tableOf(301), signal);
  expect(halves).toBeGreaterThanOrEqual(12);
  expect((await askHttp(a, VIP)).answers).toEqual({ b: 1 });
});

test("a tool that is killed at any moment of a write leaves all of it or nothing, and no connection fails", async () => {
  const { driver } = nftablesOn(a);
  await driver.sync(tableOf(300), signal);
  driver.close(); // its tool that waits is not to be the one that is killed
  const asking = askHttp(a, VIP, { requests: 300, everyMs: 10 });
  let killed = 0;
  for (let i = 0; i < 30 && killed < 8; i++) {
    const { driver: doomed, logged } = nftablesOn(a);
    let isWriting = true;
    const writing = doomed
      .sync(tableOf(300 + (i % 2)), signal)
      .then(
        () => false,
        () => true,
      )
      .finally(() => (isWriting = false));
    const pid = await waitFor(async () => (await writers())[0] ?? (isWriting ? undefined : 0), { what: "the tool", intervalMs: 1 });
    await setTimeout(i * 2);
    if (pid > 0) kill(pid);
    const isRejected = await writing;
    doomed.close();
    if (isRejected || logged.some(({ message }) => message.includes("cannot be kept"))) killed++;
  }
  expect(killed).toBeGreaterThan(0);
  expect((await asking).failures).toEqual({});
  const { driver: next } = nftablesOn(a);
  onTestFinished(() => next.close());
  await next.sync(tableOf(300), signal);
  expect((await askHttp(a, VIP)).answers).toEqual({ b: 1 });
});

/** Our children that write, or wait to. */
async function writers(): Promise<readonly number[]> {
  const tasks = await readdir("/proc/self/task");
  const children = (await Promise.all(tasks.map((task) => readFile(`/proc/self/task/${task}/children`, "utf8")))).join(" ");
  const commands = children
    .split(" ")
    .filter(Boolean)
    .map(async (pid) => ({ pid: Number(pid), command: await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "") }));
  return (await Promise.all(commands)).filter(({ command }) => command === "nft\0-f\0-\0").map(({ pid }) => pid);
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // it was done before
  }
}
