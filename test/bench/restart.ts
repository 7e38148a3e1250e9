import { setTimeout as delay } from "node:timers/promises";
import type { Bench } from "./bench.ts";
import { requireTools } from "./requirements.ts";
import { underLoad } from "./under-load.ts";

const ROUNDS = 5;
/** Between two treatments, and after the last: what goes wrong late must be seen, too. */
const PAUSE_MS = 1_000;

export const restart: Bench = {
  name: "restart",
  about:
    "an agent that is stopped and started, and killed and started, again and again; 500 new connections a second, none of which may fail",
  async run(say, { rounds = ROUNDS }) {
    requireTools(["iptables-restore"]);
    const { connections, failed, slow, slowest_ms, failures } = await underLoad([], async ({ startAgent }, first) => {
      let agent = first;
      for (let round = 0; round < rounds; round++)
        for (const how of ["stop", "kill"] as const) {
          say(`${how} and start, ${round + 1} of ${rounds}`);
          await agent[how]();
          await delay(PAUSE_MS);
          agent = await startAgent();
          await delay(PAUSE_MS);
        }
      await agent.stop();
    });
    if (failed > 0) say(`failed: ${JSON.stringify(failures)}`);
    return { failed, connections, slow, slowest_ms };
  },
};
