import type { Bench } from "./bench.ts";
import { modesOf, toolsOf } from "./modes.ts";
import { limitMs, runProgram } from "./program.ts";
import { requirePerl, requireTools } from "./requirements.ts";

const ROUNDS = 200;

/** TCP connect and reset within one host, where nothing else costs anything: the worst case for a ratio. */
export const connect: Bench = {
  name: "connect",
  about:
    "a connection to the first and last virtual IP of 1, 1,000 and 10,000 services, next to a direct one, on a host with and without rules",
  async run(say, { rounds = ROUNDS, modes }) {
    const asked = modesOf(modes);
    requireTools(["unshare", "taskset", ...toolsOf(asked)]);
    requirePerl();
    const figures: Record<string, number> = {};
    for (const mode of asked) {
      say(mode);
      const measured = await runProgram<Record<string, number>>(
        "connect-program.ts",
        { mode, rounds },
        { timeoutMs: limitMs(mode, 60 + rounds) },
      );
      for (const [figure, value] of Object.entries(measured)) figures[`${mode}_${figure}`] = value;
    }
    return figures;
  },
};
