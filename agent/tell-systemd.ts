import type { SystemdNotices } from "#proto/systemd.ts";
import { pause } from "#proto/backoff.ts";
import type { Looked } from "./probes/checks.ts";

/** Tells systemd, where it runs this agent: ready when the kernel holds what is known, and alive as long as the loops that write to it come around. */

export interface TellDeps {
  readonly notices: SystemdNotices;
  readonly look: () => Looked;
  readonly server: string;
  readonly problems: () => readonly string[];
}

/** A host that boots with no saved state while the server is away has nothing to program: others that wait for us shall not wait for that. */
const READY_AFTER_MS = 15_000;
const LOOK_MS = 50;
/** A look into all rules takes a second at most, a first write of 10,000 services a few; tools have time limits of their own, below this. */
export const TURN_LIMIT_MS = 90_000;

export async function tellSystemd({ notices, look, server, problems }: TellDeps, signal: AbortSignal): Promise<void> {
  const startedAt = performance.now();
  while (!signal.aborted && !isSettled(look()) && performance.now() - startedAt < READY_AFTER_MS) await pause(LOOK_MS, signal);
  if (signal.aborted) return;
  const status = (): string => statusOf(look(), server, problems());
  notices.ready(status());
  await notices.watch({ stuck: () => stuckLoop(look(), performance.now()), status }, signal);
}

function isSettled({ families }: Looked): boolean {
  return families.every(({ isProgrammed, unusable }) => isProgrammed || unusable !== undefined);
}

/** The loop that has not come around for too long. Pure; `now` as performance.now(). */
export function stuckLoop({ families }: Looked, now: number): string | undefined {
  const stuck = families.find(({ turnedAt }) => turnedAt !== undefined && now - turnedAt > TURN_LIMIT_MS);
  return stuck && `the loop of the ${stuck.family} data plane hangs for ${Math.round((now - (stuck.turnedAt ?? now)) / 1000)} s`;
}

/** For `systemctl status`. Pure. */
export function statusOf({ families }: Looked, server: string, problems: readonly string[]): string {
  const drivers = families.flatMap(({ family, driver }) => (driver === undefined ? [] : [`${family} by ${driver.replace(/:.*/, "")}`]));
  const kernel = drivers.length === 0 ? "nothing programmed yet" : drivers.join(", ");
  const [first, ...more] = problems;
  if (first === undefined) return `follows ${server}; ${kernel}`;
  return `${first}${more.length === 0 ? "" : ` (and ${more.length} more, see \`fairlead status\`)`}; ${kernel}`;
}
