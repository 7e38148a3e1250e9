import type { Logger } from "pino";
import { backoffMs } from "#proto/backoff.ts";
import { orUndefined, type Client } from "#proto/client.ts";
import { describeError, errorCodes, isAppError } from "#proto/error.ts";
import type { ObjectKey } from "#proto/meta.ts";
import type { Check, Workload } from "#proto/workload.ts";
import { createWake } from "#agent/sync/wake.ts";
import { readFolder, watchFolder, type FolderContent } from "./folder.ts";
import { sourceOf, type FileWorkload } from "./manifest.ts";

export interface WorkloadFilesDeps {
  readonly folder: string;
  readonly nodeName: string;
  readonly client: Pick<Client, "create" | "replace" | "get" | "delete">;
  /** This node's workloads, as last heard. */
  readonly own: ReadonlyMap<ObjectKey, Workload>;
  /** Whether `own` is what the server has, and not only what the disk remembered. */
  readonly synced: () => boolean;
  /** The exec checks of these may have changed. */
  readonly onChecks: (keys: readonly ObjectKey[]) => void;
  readonly log: Pick<Logger, "info" | "warn">;
}

export interface WorkloadFiles {
  localChecks(key: ObjectKey): readonly Check[];
  /** The server's side of this node's workloads has changed. */
  touched(): void;
  run(signal: AbortSignal): Promise<void>;
  problems(): readonly string[];
}

const REFUSED_RETRY_MS = 60_000;

/** Keeps the server's Workloads of this node's files at what the files say: registers, changes, and removes what no file has any more. */
export function createWorkloadFiles(deps: WorkloadFilesDeps): WorkloadFiles {
  const { folder, nodeName, own, synced, onChecks, log } = deps;
  const wake = createWake();
  let content: FolderContent = { workloads: new Map(), faults: new Map() };
  let refusals = new Map<ObjectKey, string>();

  async function read(): Promise<void> {
    const before = content;
    content = await readFolder(folder, nodeName);
    for (const [file, why] of content.faults)
      if (before.faults.get(file) !== why) log.warn({ file, error: why }, "a file of workloads cannot be used");
    onChecks([...new Set([...before.workloads.keys(), ...content.workloads.keys()])]);
  }

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
          log.warn({ workload: key, error: describeError(error) }, "cannot register a workload of a file");
        retry = Math.min(retry ?? Infinity, isFinal(error) ? REFUSED_RETRY_MS : backoffMs(failures + 1, Math.random()));
      }
    };
    for (const [key, wanted] of content.workloads) await attempt(key, () => register(deps, wanted, signal));
    for (const [key, workload] of own) {
      const source = sourceOf(workload);
      const isKept = source === undefined || content.workloads.has(key) || content.faults.has(source.file) || content.faults.has(folder);
      if (!isKept && workload.metadata.deletionTimestamp === undefined) await attempt(key, () => remove(deps, workload, signal));
    }
    refusals = refused;
    return retry;
  }

  async function reconcileLoop(signal: AbortSignal): Promise<void> {
    let retryMs: number | undefined;
    for (let failures = 0; !signal.aborted; failures = retryMs === undefined ? 0 : failures + 1) {
      await wake.wait(retryMs === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(retryMs)]));
      if (!isOver(signal) && synced()) retryMs = await reconcile(failures, signal);
    }
  }

  return {
    localChecks: (key) => content.workloads.get(key)?.localChecks ?? [],
    touched: () => wake.ring(),
    async run(signal) {
      await read();
      wake.ring();
      const changed = createWake();
      const follow = async (): Promise<void> => {
        while (!signal.aborted) {
          await changed.wait(signal);
          if (isOver(signal)) return;
          await read();
          wake.ring();
        }
      };
      await Promise.all([watchFolder(folder, () => changed.ring(), signal), follow(), reconcileLoop(signal).catch(endOf(signal))]);
    },
    problems: () => [
      ...Array.from(content.faults, ([file, why]) => (why.startsWith(file) ? why : `${file}: ${why}`)),
      ...Array.from(refusals, ([key, why]) => `workload ${key}: ${why}`),
    ],
  };
}

/** What was done, in words; undefined when nothing had to be. */
async function register(
  { client, own }: WorkloadFilesDeps,
  { key, workload }: FileWorkload,
  signal: AbortSignal,
): Promise<string | undefined> {
  const held = own.get(key);
  if (held && isSame(held, workload)) return undefined;
  if (held?.metadata.deletionTimestamp !== undefined) return undefined; // it drains; when it is gone, this is called again
  if (!held) {
    try {
      await client.create("Workload", workload, { signal });
      return "registered a workload of a file";
    } catch (error) {
      if (!isAppError(error, "AlreadyExists")) throw error;
    }
  }
  const { name, namespace } = workload.metadata;
  const found = await orUndefined(client.get("Workload", name, { namespace, signal }));
  if (!found || found.metadata.deletionTimestamp !== undefined || isSame(found, workload)) return undefined;
  if (sourceOf(found) === undefined) throw new Error("it is registered already, and not from a file: deregister it, or remove the file");
  await client.replace("Workload", workload, { signal });
  return "changed a workload as its file did";
}

async function remove({ client }: WorkloadFilesDeps, { metadata }: Workload, signal: AbortSignal): Promise<string> {
  await orUndefined(client.delete("Workload", metadata.name, { namespace: metadata.namespace, signal }));
  return "removed a workload that no file has any more";
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

function endOf(signal: AbortSignal): (error: unknown) => void {
  return (error) => {
    if (!signal.aborted) throw error;
  };
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
