import type { Logger } from "pino";
import type { ClusterFacts } from "#proto/agents.ts";
import type { AnyObject, KindName } from "#proto/kinds.ts";
import { keyOf, type ObjectKey } from "#proto/meta.ts";
import type { Registry } from "../prometheus.ts";
import type { Store, StoredChange } from "../store/store.ts";
import { tellConflicts } from "./address-conflicts.ts";
import { createEventRecorder, type EventRecorder } from "./events.ts";
import { createFleetView, VIEWED_KINDS } from "./fleet-view.ts";
import { createLeases, type Leases } from "./node-lease.ts";
import { createReceipts, type Receipts } from "./receipts.ts";
import { createReconciler, type Reconciler } from "./run.ts";
import { reconcileEndpoints } from "./slice-writer.ts";
import { createWorkloadEnds, type WorkloadEnds } from "./workload-end.ts";

export interface ControllerDeps {
  readonly store: Store;
  readonly cluster: Pick<ClusterFacts, "heartbeatIntervalMs" | "nodeTimeoutMs">;
  readonly log: Logger;
  /** For /metrics. */
  readonly registry?: Registry | undefined;
}

export interface Controllers {
  readonly leases: Leases;
  readonly receipts: Receipts;
  readonly ends: Pick<WorkloadEnds, "renew">;
  /** An object was written as it stands: who registers a Workload again is still there. */
  followAgain(object: AnyObject): void;
  readonly events: Pick<EventRecorder, "record" | "dropped">;
  /** Services that lead to nobody who is ready. */
  idleServices(): readonly ObjectKey[];
  /** What is still to be done, by controller; for probes and metrics. */
  pending(): Readonly<Record<string, number>>;
  /** Which of them does not come to an end with something, where one does not. */
  stuck(): string | undefined;
  /** Resolves when nothing that a commit up to `revision` caused is still to be done. */
  caughtUp(revision: number, signal: AbortSignal): Promise<void>;
  /** To be awaited after the signal aborted and before the store is closed. */
  ended(): Promise<void>;
}

/** A write takes milliseconds; a disk that hangs is no reason to start anew within seconds. */
const STUCK_AFTER_MS = 60_000;

/** Reads the fleet as it stands, then follows every commit, until the signal aborts. Resolves when all that there is has been looked at once. */
export async function startControllers({ store, cluster, log, registry }: ControllerDeps, signal: AbortSignal): Promise<Controllers> {
  const view = createFleetView();
  const events = createEventRecorder({ store, log });
  const endpoints = createReconciler({ name: "endpoints", log, signal, reconcile: (key) => reconcileEndpoints({ store, view }, key) });
  const leaseWrites: Reconciler = createReconciler({ name: "node-lease", log, signal, reconcile: (node) => leases.reconcile(node) });
  const removals: Reconciler = createReconciler({ name: "workload-end", log, signal, reconcile: (key) => ends.reconcile(key) });
  const leases = createLeases({ store, rules: cluster, events, log, wake: (node) => leaseWrites.wake(node, store.revision) });
  const ends = createWorkloadEnds({
    store,
    events,
    log,
    wake: (key) => removals.wake(key, store.revision),
    workloadsOn: (node) => view.workloadsOn(node),
    nodeExists: (node) => view.node(node) !== undefined,
  });
  const receipts = createReceipts({
    store,
    leases,
    registry,
    nodeNames: () => view.nodeNames(),
    caughtUp: (revision, waitSignal) => endpoints.caughtUp(revision, waitSignal),
  });

  function follow(changes: readonly StoredChange[]): void {
    const touched = view.apply(changes);
    leases.follow(changes);
    ends.follow(changes);
    receipts.follow(changes);
    tellConflicts(changes, events);
    for (const { type, key } of changes) if (type === "DELETED" && key.kind === "Node") receipts.forget(key.name);
    const revision = changes.at(-1)?.revision ?? 0;
    for (const key of touched) endpoints.wake(key, revision);
  }

  const unfollow = await loadThenFollow(store, follow, (all) => {
    const changes = all.map((object) => ({ type: "ADDED" as const, object }));
    view.apply(changes);
    leases.follow(changes);
    ends.follow(changes);
  });
  signal.addEventListener(
    "abort",
    () => {
      unfollow();
      leases.stop();
      ends.stop();
      receipts.stop();
    },
    { once: true },
  );
  for (const key of view.serviceKeys()) endpoints.wake(key, store.revision);

  return {
    leases,
    receipts,
    ends,
    followAgain: (object) => {
      if (object.kind === "Workload") ends.renew(keyOf(object));
    },
    events,
    idleServices: () => view.idleServices(),
    pending: () => ({ endpoints: endpoints.pending, nodeLease: leaseWrites.pending, workloadEnd: removals.pending }),
    stuck: () => {
      const names = { endpoints, "node-lease": leaseWrites, "workload-end": removals };
      const [name, { runningMs = 0 } = {}] = Object.entries(names).find(([, one]) => one.runningMs > STUCK_AFTER_MS) ?? [];
      return name && `the controller ${name} does not come to an end with something since ${Math.round(runningMs / 1000)} s`;
    },
    caughtUp: (revision, waitSignal) => endpoints.caughtUp(revision, waitSignal),
    ended: async () => {
      await Promise.all([endpoints.settled(), leaseWrites.settled(), removals.settled(), events.stop()]);
    },
  };
}

/** Reads every kind as of some revision, and hands over the changes after that, in order, without a gap. */
async function loadThenFollow(
  store: Store,
  follow: (changes: readonly StoredChange[]) => void,
  load: (all: readonly AnyObject[]) => void,
): Promise<() => void> {
  const early: StoredChange[] = [];
  let sink = (changes: readonly StoredChange[]): void => void early.push(...changes);
  const unfollow = store.onCommit((changes) => sink(changes));
  const all: AnyObject[] = [];
  const readAt = new Map<KindName, number>();
  for (const kind of VIEWED_KINDS) {
    const page = await store.list({ kind });
    readAt.set(kind, page.revision);
    all.push(...page.items);
  }
  load(all);
  sink = follow;
  const later = early.filter(({ key, revision }) => revision > (readAt.get(key.kind) ?? 0));
  if (later.length > 0) follow(later);
  return unfollow;
}
