import { runInUml } from "#test/fleet/uml.ts";
import { checkFlows } from "./flow-checks.ts";
import type { Walked } from "./flow-walk.ts";

/** The flow table through IPVS, in a kernel that has it. */

/** Two to three minutes on a machine that does nothing else. */
const TIMEOUT_MS = 600_000;

checkFlows("ipvs", {
  mode: "ipvs",
  timeoutMs: TIMEOUT_MS + 10_000,
  async walk() {
    const program = { command: process.execPath, args: ["test/e2e/flows-ipvs-program.ts"], memory: "1500M" };
    const { stdout, stderr, exitCode } = await runInUml({ ...program, timeoutMs: TIMEOUT_MS });
    if (exitCode !== 0) throw new Error(`the walk ended with ${exitCode}: ${stderr.slice(-4_000)}`);
    return JSON.parse(stdout) as Walked[];
  },
});
