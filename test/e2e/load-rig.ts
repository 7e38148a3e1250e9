import type { Host } from "../fleet/fleet.ts";
import { ask } from "./agent-rig.ts";

export interface Load {
  /** Connections made and failed until now; the answers that were not there in time count as failed. */
  stop(): Promise<{ readonly made: number; readonly failures: Readonly<Record<string, number>>; readonly perSecond: number }>;
}

const AT_A_TIME = 200;
const ASKERS = 2;

// New connections without end, by two programs on each machine; each asks anew when it has its answer: some 100 to 500 a second, as the machine is busy.
export function load(machines: readonly Host[], url: string): Load {
  const startedAt = performance.now();
  const failures: Record<string, number> = {};
  let made = 0;
  let stopped = false;
  const askers = machines.flatMap((machine) => Array.from({ length: ASKERS }, () => machine));
  const running = askers.map(async (machine) => {
    while (!stopped) {
      const asked = await ask(machine, AT_A_TIME, url, "--every-ms", "2");
      made += AT_A_TIME;
      for (const [why, count] of Object.entries(asked.failures)) failures[why] = (failures[why] ?? 0) + count;
    }
  });
  return {
    async stop() {
      stopped = true;
      await Promise.all(running);
      return { made, failures, perSecond: Math.round((made * 1000) / (performance.now() - startedAt)) };
    },
  };
}
