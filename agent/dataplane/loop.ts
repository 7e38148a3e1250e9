import { describeError, isAppError } from "#proto/error.ts";
import type { CompiledService, ForwardingTable, ServiceChange, ServiceKey } from "#agent/compile/table.ts";
import type { DataplaneDriver } from "./driver.ts";
import type { DataplaneLog } from "./log.ts";
import type { TableMailbox, TableUpdate } from "./mailbox.ts";

/** Keeps the kernel at what the mailbox says, for one family of addresses: applies, repairs what others took away, and tries again what the kernel refused. */

export interface DataplaneDeps {
  readonly driver: DataplaneDriver;
  readonly mailbox: TableMailbox;
  /** How often to look whether our rules are still there, by how long the last write of all of them took. */
  readonly verifyIntervalMs: (wholeWriteMs: number) => number;
  readonly log: DataplaneLog;
  /** The kernel, stale flows included, now holds what follows from this revision. `tookMs`: of the write; undefined = there was nothing to write. */
  readonly onApplied: (revision: number, tookMs?: number) => void;
  /** Somebody else took or changed what was ours; it is being repaired. */
  readonly onDrift: (missing: readonly string[]) => void;
  /** The kernel refused; `undefined` = it took what it refused before. */
  readonly onFailure?: (error: Error | undefined) => void;
  /** It comes around: at least every few seconds, unless something hangs. */
  readonly onTurn?: () => void;
  /** Milliseconds, for tests. */
  readonly now?: () => number;
}

/** What the kernel shall hold. */
interface Desired {
  readonly revision: number;
  readonly table: ForwardingTable;
  readonly services: Map<ServiceKey, CompiledService>;
}

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;

export async function dataplaneLoop(deps: DataplaneDeps, signal: AbortSignal): Promise<void> {
  const { mailbox, now = () => performance.now() } = deps;
  const isOver = (): boolean => signal.aborted;
  let desired: Desired | undefined;
  let failures = 0;
  let retryAt = 0;
  let verifyIntervalMs = deps.verifyIntervalMs(0);
  let verifiedAt = now();
  while (!isOver()) {
    deps.onTurn?.();
    const timeoutMs = failures > 0 ? Math.max(0, retryAt - now()) : verifyIntervalMs;
    const update = await mailbox.take({ timeoutMs }, signal).catch(endOf(signal));
    if (isOver()) return;
    if (update) desired = follow(desired, update);
    // What comes while the kernel refuses makes the next try a larger one, not an earlier one: a whole write may take a second of the host's time.
    if (!desired || (failures > 0 && now() < retryAt)) continue;
    try {
      if (failures > 0 || update?.table) verifyIntervalMs = deps.verifyIntervalMs(await sync(deps, desired, signal));
      else if (update) await apply(deps, desired, { changes: update.changes, signal });
      if (failures > 0) deps.onFailure?.(undefined);
      failures = 0;
      // Also while updates come without end.
      if (update && now() - verifiedAt < verifyIntervalMs) continue;
      await verify(deps, desired, signal);
      verifiedAt = now();
    } catch (error) {
      if (isOver()) return;
      failures++;
      retryAt = now() + retryDelayMs(failures);
      report(deps, error, failures);
    }
  }
}

/** How long it took. */
async function sync({ driver, log, onApplied }: DataplaneDeps, desired: Desired, signal: AbortSignal): Promise<number> {
  const startedAt = performance.now();
  await driver.sync(tableOf(desired), signal);
  const { revision, services } = desired;
  const tookMs = performance.now() - startedAt;
  log.info({ family: driver.family, revision, services: services.size, tookMs: Math.round(tookMs) }, "programmed the kernel");
  onApplied(revision, tookMs);
  return tookMs;
}

async function apply(
  { driver, log, onApplied }: DataplaneDeps,
  { revision }: Desired,
  { changes, signal }: { readonly changes: readonly ServiceChange[]; readonly signal: AbortSignal },
): Promise<void> {
  if (changes.length === 0) {
    onApplied(revision);
    return;
  }
  const startedAt = performance.now();
  await driver.update(changes, signal);
  log.info({ family: driver.family, revision, services: namesOf(changes), tookMs: since(startedAt) }, "applied");
  onApplied(revision, performance.now() - startedAt);
}

/** A change does not wait for it: a look into all rules may take half a second. */
async function verify({ driver, mailbox, log, onDrift }: DataplaneDeps, desired: Desired, signal: AbortSignal): Promise<void> {
  const startedAt = performance.now();
  using next = mailbox.untilNext(signal);
  const drift = await driver.verify(next.signal).catch((error: unknown) => {
    if (isCalledOff(error, next.signal)) return undefined;
    throw error; // also when something has come meanwhile: it may have been a write
  });
  if (!drift || drift.intact) return;
  onDrift(drift.missing);
  await driver.sync(tableOf(desired), signal);
  log.warn(
    { family: driver.family, missing: drift.missing, tookMs: since(startedAt) },
    "repaired rules that somebody else had removed or changed",
  );
}

function report({ driver, log, onFailure }: DataplaneDeps, error: unknown, failures: number): void {
  const hint = isAppError(error) ? error.hint : undefined;
  const { family } = driver;
  log.error({ family, error: describeError(error), hint, failures, retryInMs: retryDelayMs(failures) }, "could not program the kernel");
  onFailure?.(error instanceof Error ? error : new Error(String(error)));
}

function follow(desired: Desired | undefined, { revision, table, changes }: TableUpdate): Desired | undefined {
  const next = table ? { revision, table, services: new Map(table.services) } : desired && { ...desired, revision };
  for (const { key, next: service } of changes) {
    if (service) next?.services.set(key, service);
    else next?.services.delete(key);
  }
  return next;
}

function tableOf({ table, services }: Desired): ForwardingTable {
  return { host: table.host, services };
}

function namesOf(changes: readonly ServiceChange[]): readonly string[] {
  return changes.slice(0, 10).map(({ key }) => key);
}

function since(startedAt: number): number {
  return Math.round(performance.now() - startedAt);
}

function retryDelayMs(failures: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), LAST_RETRY_MS);
}

/** The signal's own reason, bare or in the error that Node makes of it. */
function isCalledOff(error: unknown, { aborted, reason }: AbortSignal): boolean {
  return aborted && (error === reason || (error instanceof Error && error.name === "AbortError" && error.cause === reason));
}

/** An abort is how we stop, not a failure. */
function endOf(signal: AbortSignal): (error: unknown) => undefined {
  return (error) => {
    if (!signal.aborted) throw error;
    return undefined;
  };
}
