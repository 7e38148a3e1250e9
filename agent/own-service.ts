import { stat } from "node:fs/promises";
import type { KernelTools } from "./dataplane/exec.ts";

/** The unit as which this host runs its agent, where somebody has installed one: the Debian package, or a person. */
export const AGENT_UNIT = "fairlead-agent.service";

const START_MS = 120_000;

/** Starts it, now and at each boot; false = this host has no such unit, or no systemd. */
export async function startOwnService(tools: Pick<KernelTools, "run">, signal: AbortSignal): Promise<boolean> {
  const isSystemd = await stat("/run/systemd/system").then(
    () => true,
    () => false,
  );
  if (!isSystemd) return false;
  const { exitCode } = await tools.run("systemctl", ["cat", AGENT_UNIT], { accept: [1, 4], signal });
  if (exitCode !== 0) return false;
  await tools.run("systemctl", ["enable", "--quiet", "--now", AGENT_UNIT], { timeoutMs: START_MS, signal });
  return true;
}
