// What the probe of IPVS says of a kernel without one of its parts, in a kernel of its own (test/fleet/uml.ts):  node test/e2e/ipvs-probe-program.ts
// Prints what was said as one JSON line; ipvs.e2e.test.ts says what it must be.
import { rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { openDriver } from "#agent/dataplane/select.ts";

if (hostname() !== "uml") throw new Error("this program changes the machine that it runs on: it belongs into User-Mode Linux");

/** In this order: a module that was loaded once stays. */
const LACKING = ["ip_vs", "ip_vs_wrr", "ip_set_hash_ipportnet", "xt_ipvs", "xt_recent", ""] as const;
const FILE = "/etc/modprobe.d/fairlead-test.conf";

const signal = AbortSignal.timeout(200_000);
const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
const sysctls = { ensure: async () => [], restore: async () => [] };
const said: Record<string, unknown> = {};
for (const module of LACKING) {
  await writeFile(FILE, module === "" ? "" : `install ${module} /bin/false\n`);
  const driver = await openDriver({ dataplane: "ipvs", family: "IPv4", tools: openKernelTools(), sysctls, log });
  said[module === "" ? "nothing" : module] = await driver.probe(signal);
  driver.close();
  process.stderr.write(`${Math.round(performance.now())} ms: without ${module}: ${JSON.stringify(said[module])}\n`);
}
await rm(FILE);
process.stdout.write(`${JSON.stringify(said)}\n`);
