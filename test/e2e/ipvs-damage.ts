import type { ForwardingTable } from "#agent/compile/table.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import type { Host } from "#test/fleet/host.ts";
import { waitFor } from "#test/wait-for.ts";

/** Somebody takes away what is ours, and the driver is asked until it has seen that, as the agent's loop asks it. For programs in User-Mode Linux. */

export interface Damaged {
  readonly host: Host;
  readonly driver: DataplaneDriver;
  readonly table: ForwardingTable;
  /** Does a connection come through? */
  isServed(): Promise<boolean>;
  readonly signal: AbortSignal;
}

export interface Repair {
  readonly missing: readonly string[];
  readonly isServed: boolean;
  /** From the damage until it was seen, and repaired, in starts of a process, which is what a repair is made of: 8 ms each on a machine like ours. */
  readonly starts: { readonly seen: number; readonly repaired: number };
}

/** As the agent has it unless told otherwise. */
const LOOK_EVERY_MS = 150;

const DAMAGES: Readonly<Record<string, readonly [string, ...string[]]>> = {
  "ipvsadm -C": ["ipvsadm", "-C"],
  "a rule with a set": ["iptables", "-t", "mangle", "-D", "INPUT", "1"],
  "an emptied set": ["ipset", "flush", "FLV-4-PLACES"],
  "the address of the range": ["ip", "route", "del", "local", "10.96.0.0/16", "dev", "fairlead0"],
  "the device": ["ip", "link", "del", "fairlead0"],
};

export async function repairs(damaged: Damaged): Promise<Readonly<Record<string, Repair>>> {
  const found: Record<string, Repair> = {};
  for (const [name, [file, ...args]] of Object.entries(DAMAGES)) found[name] = await repair(damaged, () => damaged.host.run(file, args));
  return found;
}

async function repair({ host, driver, table, isServed, signal }: Damaged, damage: () => Promise<unknown>): Promise<Repair> {
  const startMs = await startOfAProcess(host);
  await damage();
  const damagedAt = performance.now();
  const missed = async (): Promise<readonly string[] | undefined> => {
    const drift = await driver.verify(signal);
    return drift.intact ? undefined : drift.missing;
  };
  const missing = await waitFor(missed, { what: "the damage to be seen", timeoutMs: 120_000, intervalMs: LOOK_EVERY_MS });
  const seenAt = performance.now();
  await driver.sync(table, signal);
  const repairedAt = performance.now();
  const starts = { seen: Math.round((seenAt - damagedAt) / startMs), repaired: Math.round((repairedAt - damagedAt) / startMs) };
  return { missing, isServed: await isServed(), starts };
}

/** The median of five. */
async function startOfAProcess(host: Host): Promise<number> {
  const took: number[] = [];
  for (let i = 0; i < 5; i++) {
    const startedAt = performance.now();
    await host.run("true");
    took.push(performance.now() - startedAt);
  }
  return took.toSorted((a, b) => a - b)[2] ?? NaN;
}
