import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "pino";
import { FOLLOWED_KINDS, type Change, type ChangesReply, type ClusterFacts, type FollowedKind } from "#proto/agents.ts";
import { describeError } from "#proto/error.ts";
import { keyOf, type ObjectKey } from "#proto/meta.ts";
import { parseObject } from "#proto/parse.ts";
import { createHeldObjects, noneTouched, touchedOf, type TouchedSets } from "./held-objects.ts";
import { leanObject, packObject, type FollowedObject, type PackedObject } from "./packed-object.ts";
import type { ClusterState, Touched } from "./state.ts";

/** Everything that the server said at one moment, unchecked. */
export interface Snapshot {
  /** undefined = it may lack something: whoever follows the server must read all of it. */
  readonly epoch: string | undefined;
  readonly revision: number;
  readonly cluster: ClusterFacts;
  /** Page by page, where they come in pages: no more of them than one page is there unpacked. */
  readonly items: Iterable<unknown> | AsyncIterable<unknown>;
}

/** One step from a revision to the next, as it is written to disk. */
export interface ReplicaStep {
  /** Follows on the step (or image) that ended here. */
  readonly previous: number;
  readonly revision: number;
  readonly epoch: string;
  readonly puts: readonly FollowedObject[];
  readonly deletes: readonly { readonly kind: FollowedKind; readonly key: ObjectKey }[];
}

export interface ReplicaImage {
  readonly epoch: string;
  readonly revision: number;
  readonly cluster: ClusterFacts;
  /** JSON of each. */
  readonly objects: readonly string[];
}

/** What this host last heard. Changed only here; whoever follows it is told what a change touched. */
export interface Replica {
  readonly state: ClusterState;
  /** Names the history that the revision counts in; undefined = nothing heard yet, or not known whole. */
  epoch(): string | undefined;
  /** Changes of the server, in its order. Those already known are known by their revision. */
  applyChanges(reply: ChangesReply): { readonly touched: Touched; readonly step: ReplicaStep | undefined };
  /** Becomes what the snapshot says; what it holds already is not touched. Lets the other loops run in between. */
  replaceWith(snapshot: Snapshot): Promise<Touched>;
  image(): ReplicaImage | undefined;
  /** What it was told and does not understand, a line each. */
  problems(): readonly string[];
}

const MAX_INVALID = 1000;
/** 20,000 objects take a second to check on a fast machine, and a heartbeat must not wait for it. */
const ITEMS_AT_A_TIME = 250;

export function createReplica({ nodeName, log }: { readonly nodeName: string; readonly log: Pick<Logger, "warn"> }): Replica {
  const held = createHeldObjects(nodeName);
  const { state } = held;
  const invalid = new Map<string, string>();
  let epoch: string | undefined;
  let recorded = 0; // where the last step ended

  /** Its last valid version stays; the others go on. */
  function checked(kind: FollowedKind, input: unknown): FollowedObject | undefined {
    const name = `${kind} ${looseKeyOf(input) ?? "without a name"}`;
    try {
      const object = leanObject(parseObject(kind, input), nodeName);
      invalid.delete(name);
      return object;
    } catch (error) {
      if (!invalid.has(name)) log.warn({ object: name, error: describeError(error) }, "skipped an object that is not valid");
      if (invalid.size < MAX_INVALID) invalid.set(name, describeError(error));
      return undefined;
    }
  }

  function applyOne({ type, kind, object, revision }: Change & { readonly kind: FollowedKind }, made: MadeStep): void {
    const key = looseKeyOf(object);
    if (key === undefined) return void checked(kind, object);
    const before = held.get(kind, key);
    if (before && before.revision >= revision) return;
    if (type === "DELETE") {
      invalid.delete(`${kind} ${key}`);
      if (!before) return;
      held.delete(kind, key, made.touched);
      made.deletes.push({ kind, key });
      return;
    }
    const after = checked(kind, object);
    if (!after) return;
    held.put(packObject(after), made.touched);
    if (held.get(kind, key)) made.puts.push(after);
    else if (before) made.deletes.push({ kind, key }); // a workload that moved to another host
  }

  return {
    state,
    epoch: () => epoch,
    applyChanges(reply) {
      const made: MadeStep = { puts: [], deletes: [], touched: noneTouched() };
      for (const change of reply.changes)
        if (change.revision > state.revision && isFollowed(change.kind)) applyOne({ ...change, kind: change.kind }, made);
      held.setRevision(Math.max(state.revision, reply.revision));
      epoch = reply.epoch;
      const touched = touchedOf(made.touched, { revision: state.revision, all: false });
      if (made.puts.length + made.deletes.length === 0) return { touched, step: undefined };
      const step = { previous: recorded, revision: state.revision, epoch, puts: made.puts, deletes: made.deletes };
      recorded = state.revision;
      return { touched, step };
    },
    async replaceWith(snapshot) {
      const gone = new Set(held.all().map(({ kind, key }) => `${kind} ${key}`));
      const seen = new Set<string>();
      const different: PackedObject[] = [];
      let count = 0;
      for await (const item of snapshot.items) {
        if (count++ % ITEMS_AT_A_TIME === 0) await nextTurn();
        const kind = kindOf(item);
        const key = looseKeyOf(item);
        if (kind === undefined || key === undefined) continue;
        const after = checked(kind, item);
        seen.add(`${kind} ${key}`);
        gone.delete(`${kind} ${key}`);
        // By content: after an old backup was restored, the same revision may be something else.
        const object = after && packObject(after);
        if (object && held.get(kind, key)?.text !== object.text) different.push(object);
      }
      for (const name of invalid.keys()) if (!seen.has(name)) invalid.delete(name);
      return become(snapshot, different, gone);
    },
    image() {
      if (epoch === undefined || state.cluster === undefined) return undefined;
      recorded = state.revision;
      return { epoch, revision: state.revision, cluster: state.cluster, objects: held.all().map(({ text }) => text) };
    },
    problems: () => Array.from(invalid, ([name, why]) => `${name} is skipped: ${why}`),
  };

  /** All at once: nobody sees half of it. */
  function become({ cluster, revision, epoch: ofEpoch }: Snapshot, different: readonly PackedObject[], gone: ReadonlySet<string>): Touched {
    const sets = noneTouched();
    const all = state.cluster === undefined || !same(state.cluster, cluster);
    for (const object of different) held.put(object, sets);
    deleteNamed(gone, sets);
    held.setCluster(cluster);
    held.setRevision(revision);
    epoch = ofEpoch;
    recorded = revision;
    return touchedOf(sets, { revision, all });
  }

  function deleteNamed(names: ReadonlySet<string>, sets: TouchedSets): void {
    for (const name of names) {
      const space = name.indexOf(" ");
      const kind = name.slice(0, space);
      if (isFollowed(kind)) held.delete(kind, name.slice(space + 1), sets);
    }
  }
}

interface MadeStep {
  readonly puts: FollowedObject[];
  readonly deletes: { readonly kind: FollowedKind; readonly key: ObjectKey }[];
  readonly touched: TouchedSets;
}

function isFollowed(kind: string): kind is FollowedKind {
  return (FOLLOWED_KINDS as readonly string[]).includes(kind);
}

function same(a: ClusterFacts, b: ClusterFacts): boolean {
  return JSON.stringify(a) === JSON.stringify(b); // both come from the same parser, hence with the same order of fields
}

function kindOf(input: unknown): FollowedKind | undefined {
  if (typeof input !== "object" || input === null || !("kind" in input)) return undefined;
  return typeof input.kind === "string" && isFollowed(input.kind) ? input.kind : undefined;
}

/** The key of something that may not be valid otherwise. */
function looseKeyOf(input: unknown): ObjectKey | undefined {
  if (typeof input !== "object" || input === null || !("metadata" in input)) return undefined;
  const { metadata } = input;
  if (typeof metadata !== "object" || metadata === null || !("name" in metadata) || typeof metadata.name !== "string") return undefined;
  const namespace = "namespace" in metadata && typeof metadata.namespace === "string" ? metadata.namespace : undefined;
  return keyOf({ metadata: { name: metadata.name, namespace } });
}
