import type { Bench } from "./bench.ts";
import { modesOf, toolsOf } from "./modes.ts";
import { limitMs, runProgram } from "./program.ts";
import { requireTools } from "./requirements.ts";

const SECONDS = 60;
const LOAD = { services: 5000, "per-second": 100 };

/** Mailbox, loop and driver as the agent has them; server and watch have benches of their own. `rounds` = seconds. */
export const churn: Bench = {
  name: "churn",
  about: `100 endpoint changes a second for ${SECONDS} s at 5,000 services: from the change until the kernel held it; nothing lost`,
  async run(say, { rounds = SECONDS, modes }) {
    const asked = modesOf(modes);
    requireTools(["unshare", ...toolsOf(asked)]);
    const figures: Record<string, number> = {};
    for (const mode of asked) {
      say(mode);
      const timeoutMs = limitMs(mode, 120 + rounds);
      const measured = await runProgram<Record<string, number>>("churn-program.ts", { mode, ...LOAD, seconds: rounds }, { timeoutMs });
      for (const [figure, value] of Object.entries(measured)) figures[`${mode}_${figure}`] = value;
    }
    return figures;
  },
};
