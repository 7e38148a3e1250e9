import type { Logger } from "pino";
import { backoffMs } from "#proto/backoff.ts";
import { orUndefined, type Client } from "#proto/client.ts";
import { describeError, errorCodes, isAppError } from "#proto/error.ts";
import type { ObjectKey } from "#proto/meta.ts";
import type { Workload } from "#proto/workload.ts";
import { createWake } from "#agent/sync/wake.ts";
import { sourceOf } from "./mark.ts";

/** Something on this host that says which Workloads there are: files, a container engine. */
export interface WorkloadSource {
  /** Those that are to be registered, each with its mark (mark.ts). */
  readonly wanted: () => Iterable<readonly [ObjectKey, Workload]>;
  /** What becomes of a Workload with this mark that nobody wants; undefined = it is of another source. */
  readonly end: (source: string) => WorkloadEnd | undefined;
}

/** `keep`: the source cannot tell now. `drain`: it still serves. `at once`: it is gone. */
export type WorkloadEnd = "keep" | "drain" | "at once";

export interface WorkloadKeeperDeps {
  /** The first that wants a Workload has it. */
  readonly sources: readonly WorkloadSource[];
  readonly client: Pick<Client, "create" | "replace" | "get" | "delete">;
  /** This node's workloads, as last heard. */
  readonly own: ReadonlyMap<ObjectKey, Workload>;
  /** Whether `own` is what the server has, and not only what the disk remembered. */
  readonly synced: () => boolean;
  readonly log: Pick<Logger, "info" | "warn">;
}

export interface WorkloadKeeper {
  /** The server's side of this node's workloads has changed, or a source. */
  touched(): void;
  run(signal: AbortSignal): Promise<void>;
  problems(): readonly string[];
}

const REFUSED_RETRY_MS = 60_000;

/** Keeps the server's Workloads of this node's sources at what the sources say: registers, changes, and removes what no source has any more. */
export function createWorkloadKeeper(deps: WorkloadKeeperDeps): WorkloadKeeper {
  const { sources, own, synced, log } = deps;
  const wake = createWake();
  let refusals = new Map<ObjectKey, string>();

  /** Milliseconds until it is worth trying again; undefined when all is as it should be. */
  async function reconcile(failures: number, signal: AbortSignal): Promise<number | undefined> {
    const refused = new Map<ObjectKey, string>();
    let retry: number | undefined;
    const attempt = async (key: ObjectKey, step: () => Promise<string | undefined>): Promise<void> => {
      try {
        const done = await step();
        if (done !== undefined) log.info({ workload: key }, done);
      } catch (error) {
        signal.throwIfAborted();
        refused.set(key, describeError(error));
        if (refusals.get(key) !== describeError(error))
          log.warn({ workload: key, error: describeError(error) }, "cannot register a workload of this host");
        retry = Math.min(retry ?? Infinity, isFinal(error) ? REFUSED_RETRY_MS : backoffMs(failures + 1, Math.random()));
      }
    };
    const wanted = wantedOf(sources);
    for (const [key, workload] of wanted) await attempt(key, () => register(deps, key, workload, signal));
    for (const [key, workload] of own) {
      const end = wanted.has(key) ? "keep" : endOf(sources, workload);
      if (end === "drain" || end === "at once") await attempt(key, () => remove(deps, workload, end, signal));
    }
    refusals = refused;
    return retry;
  }

  return {
    touched: () => wake.ring(),
    async run(signal) {
      let retryMs: number | undefined;
      wake.ring();
      for (let failures = 0; !signal.aborted; failures = retryMs === undefined ? 0 : failures + 1) {
        await wake.wait(retryMs === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(retryMs)]));
        if (isOver(signal) || !synced()) continue;
        try {
          retryMs = await reconcile(failures, signal);
        } catch (error) {
          if (!isOver(signal)) throw error;
        }
      }
    },
    problems: () => Array.from(refusals, ([key, why]) => `workload ${key}: ${why}`),
  };
}

function wantedOf(sources: readonly WorkloadSource[]): Map<ObjectKey, Workload> {
  const wanted = new Map<ObjectKey, Workload>();
  for (const source of sources) for (const [key, workload] of source.wanted()) if (!wanted.has(key)) wanted.set(key, workload);
  return wanted;
}

/** What no source knows any more (an agent that is run without the one it came from) goes as well. */
function endOf(sources: readonly WorkloadSource[], workload: Workload): WorkloadEnd {
  const mark = sourceOf(workload);
  if (mark === undefined) return "keep"; // somebody else registered it
  return sources.map(({ end }) => end(mark.source)).find((end) => end !== undefined) ?? "drain";
}

/** What was done, in words; undefined when nothing had to be. */
async function register(
  { client, own }: WorkloadKeeperDeps,
  key: ObjectKey,
  workload: Workload,
  signal: AbortSignal,
): Promise<string | undefined> {
  const held = own.get(key);
  if (held && isSame(held, workload)) return undefined;
  if (held?.metadata.deletionTimestamp !== undefined) return undefined; // it drains; when it is gone, this is called again
  if (!held) {
    try {
      await client.create("Workload", workload, { signal });
      return "registered a workload of this host";
    } catch (error) {
      if (!isAppError(error, "AlreadyExists")) throw error;
    }
  }
  const { name, namespace } = workload.metadata;
  const found = await orUndefined(client.get("Workload", name, { namespace, signal }));
  if (!found || found.metadata.deletionTimestamp !== undefined || isSame(found, workload)) return undefined;
  if (sourceOf(found) === undefined)
    throw new Error("it is registered already, and not from a file or container of this host: deregister it, or take this one out");
  await client.replace("Workload", workload, { signal });
  return "changed a workload as its source did";
}

async function remove(
  { client }: WorkloadKeeperDeps,
  { metadata }: Workload,
  end: "drain" | "at once",
  signal: AbortSignal,
): Promise<string | undefined> {
  const isDraining = metadata.deletionTimestamp !== undefined;
  if (isDraining && end === "drain") return undefined;
  const { name, namespace } = metadata;
  await orUndefined(client.delete("Workload", name, { namespace, signal, ...(end === "at once" && { gracePeriodSeconds: 0 }) }));
  return "removed a workload that is no longer on this host";
}

function isSame(held: Workload, wanted: Workload): boolean {
  return held.metadata.deletionTimestamp === undefined && sourceOf(held)?.hash === sourceOf(wanted)?.hash;
}

/** Trying again soon cannot mend it. */
function isFinal(error: unknown): boolean {
  if (!isAppError(error)) return true;
  const { status } = errorCodes[error.code];
  return status >= 400 && status < 500 && status !== 409 && status !== 429;
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
