import { isDeepStrictEqual } from "node:util";
import type { Logger } from "pino";
import { durationMs, keyOf, type ObjectKey } from "#proto/meta.ts";
import type { Workload } from "#proto/workload.ts";
import { isAppError } from "#proto/error.ts";
import type { Store, StoredChange } from "../store/store.ts";
import { createDeadlines } from "./deadlines.ts";
import type { EventRecorder } from "./events.ts";

/**
 * Removes Workloads whose time is over: deleted ones when they have drained, those with a `ttl` that nobody renewed, and those of a host that was
 * deleted. A write of the Workload renews it, one of its status does not: that is its host's word, not its own. Renewals are held in memory only; a
 * restart of the server grants everybody a fresh period.
 */
export interface WorkloadEnds {
  /** Whether there is such a Workload. One without ttl needs no renewal, and none does harm. */
  renew(workload: ObjectKey): boolean;
  follow(changes: readonly Followed[]): void;
  /** Removes it, if its time is over. */
  reconcile(workload: ObjectKey): Promise<void>;
  readonly tracked: number;
  stop(): void;
}

type Followed = Pick<StoredChange, "type" | "object"> & Partial<Pick<StoredChange, "previous">>;

interface Deps {
  readonly store: Store;
  readonly events: EventRecorder;
  readonly log: Pick<Logger, "info">;
  readonly wake: (workload: ObjectKey) => void;
  readonly workloadsOn: (node: string) => readonly ObjectKey[];
  readonly nodeExists: (node: string) => boolean;
}

interface Tracked {
  readonly ttlMs: number | undefined;
  /** When it will have drained, in ms since 1970. */
  readonly deleteAt: number | undefined;
  renewedAt: number;
}

export function createWorkloadEnds({ store, events, log, wake, workloadsOn, nodeExists }: Deps): WorkloadEnds {
  /** Only those that will end. */
  const tracked = new Map<ObjectKey, Tracked>();
  const deadlines = createDeadlines({ now: () => performance.now(), onDue: wake });

  function dueAt({ ttlMs, deleteAt, renewedAt }: Tracked): number {
    const expires = ttlMs === undefined ? Infinity : renewedAt + ttlMs;
    // The clock of the wall may be set; timers do not care.
    return deleteAt === undefined ? expires : Math.min(expires, performance.now() + (deleteAt - Date.now()));
  }

  function followWorkload(type: StoredChange["type"], workload: Workload, previous: StoredChange["previous"]): void {
    const key = keyOf(workload);
    const { ttl } = workload.spec;
    const { deletionTimestamp } = workload.metadata;
    if (type !== "DELETED" && !nodeExists(workload.spec.node)) wake(key);
    if (type === "DELETED" || (ttl === undefined && deletionTimestamp === undefined)) {
      tracked.delete(key);
      deadlines.delete(key);
      return;
    }
    const one: Tracked = {
      ttlMs: ttl === undefined ? undefined : durationMs(ttl),
      deleteAt: deletionTimestamp === undefined ? undefined : Date.parse(deletionTimestamp),
      renewedAt: (isOnlyStatus(workload, previous) ? tracked.get(key)?.renewedAt : undefined) ?? performance.now(),
    };
    tracked.set(key, one);
    deadlines.delete(key); // it may now end earlier than before
    deadlines.set(key, dueAt(one));
  }

  /** Why it ends now, or undefined when it does not. */
  function verdict(workload: Workload): string | undefined {
    const one = tracked.get(keyOf(workload));
    if (!nodeExists(workload.spec.node)) return "NodeGone";
    if (one?.deleteAt !== undefined && one.deleteAt <= Date.now()) return "Drained";
    if (one?.ttlMs !== undefined && one.renewedAt + one.ttlMs <= performance.now()) return "TtlExpired";
    return undefined;
  }

  return {
    renew: (key) => {
      const one = tracked.get(key);
      if (!one) return false;
      one.renewedAt = performance.now();
      deadlines.set(key, dueAt(one));
      return true;
    },
    follow: (changes) => {
      for (const { type, object, previous } of changes) {
        if (object.kind === "Workload") followWorkload(type, object, previous);
        else if (object.kind === "Node" && type === "DELETED") for (const key of workloadsOn(object.metadata.name)) wake(key);
      }
    },
    reconcile: async (key) => {
      const [namespace = "", name = ""] = key.split("/");
      const workload = await store.get({ kind: "Workload", namespace, name });
      if (workload?.kind !== "Workload") return;
      const why = verdict(workload);
      if (why === undefined) {
        const one = tracked.get(key);
        if (one) deadlines.set(key, dueAt(one));
        return;
      }
      try {
        await store.transact([
          { op: "delete", key: { kind: "Workload", namespace, name }, expect: Number(workload.metadata.resourceVersion) },
        ]);
      } catch (error) {
        if (isAppError(error, "NotFound")) return;
        throw error;
      }
      log.info({ workload: key, why }, "workload removed");
      if (why !== "Drained") events.record(workload, { type: "Warning", reason: why, message: MESSAGES[why] ?? "" });
    },
    get tracked() {
      return tracked.size;
    },
    stop: () => deadlines.stop(),
  };
}

function isOnlyStatus(workload: Workload, previous: StoredChange["previous"]): boolean {
  if (previous?.kind !== "Workload") return false;
  const wishOf = ({ metadata, spec }: Workload): unknown => ({ metadata: { ...metadata, resourceVersion: undefined }, spec });
  return isDeepStrictEqual(wishOf(workload), wishOf(previous));
}

const MESSAGES: Readonly<Record<string, string>> = {
  TtlExpired: "removed: nobody renewed it within its ttl",
  NodeGone: "removed: its host was deleted",
};
