import type { Bench } from "./bench.ts";
import { modesOf, toolsOf } from "./modes.ts";
import { limitMs, runProgram } from "./program.ts";
import { requireTools } from "./requirements.ts";

const SERVICES = 10_000;
const CHANGES = 50;

/** Each data plane's driver alone, in turns with its bare tool, which gets the text that the driver wrote. */
export const sync: Bench = {
  name: "sync",
  about: `first program of ${SERVICES} services × 2 and one endpoint change, each mode, next to the bare tool fed the same text`,
  async run(say, { rounds = CHANGES, modes }) {
    const asked = modesOf(modes);
    requireTools(["unshare", ...toolsOf(asked)]);
    const figures: Record<string, number> = {};
    for (const mode of asked) {
      say(mode);
      const repeats = mode === "ipvs" ? { fulls: 1, again: 0 } : { fulls: 5, again: 3 };
      const measured = await runProgram<Record<string, number>>(
        "sync-program.ts",
        { mode, services: SERVICES, ...repeats, changes: rounds },
        { timeoutMs: limitMs(mode, 120 + 2 * rounds) },
      );
      for (const [figure, value] of Object.entries(measured)) figures[`${mode}_${figure}`] = value;
    }
    return figures;
  },
};
