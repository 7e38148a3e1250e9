import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import type { IpFamily } from "#proto/ip.ts";
import { parseActivity } from "./listing.ts";
import type { IpvsState, Steps } from "./state.ts";

/**
 * Endpoints that are gone keep the connections that they have, with weight 0, until they have none. The kernel is asked for that by reading a file, as
 * often as it is cheap. An end there is: a connection without a packet for SECONDS is forgotten by the kernel.
 */
export interface Drains {
  /** What can be taken away now; undefined = it is not time to look, or there is nothing to look for. */
  due(state: IpvsState): Promise<Steps | undefined>;
}

const LOOK_EVERY_MS = 1_000;
const SHARE_OF_A_CORE = 0.005;

export function openDrains({ family, procNet }: { readonly family: IpFamily; readonly procNet: string }): Drains {
  let dueAt = 0;
  return {
    async due(state) {
      const startedAt = performance.now();
      if (state.draining.size === 0 || startedAt < dueAt) return undefined;
      const activity = parseActivity(await readFile(join(procNet, "ip_vs"), "utf8"), family);
      const steps = state.takeIdle((key, real) => (activity.get(key)?.get(real) ?? 0) > 0);
      dueAt = startedAt + Math.max(LOOK_EVERY_MS, (performance.now() - startedAt) / SHARE_OF_A_CORE);
      return steps;
    },
  };
}
