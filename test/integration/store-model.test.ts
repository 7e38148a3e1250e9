import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ChangesReply } from "#proto/agents.ts";
import { isAppError } from "#proto/error.ts";
import type { AnyObject, KindName } from "#proto/kinds.ts";
import { parseObject } from "#proto/parse.ts";
import { parseFieldSelector, parseLabelSelector } from "#proto/selector.ts";
import { openStore } from "#server/store/sqlite.ts";
import type { Store, Write } from "#server/store/store.ts";
import { createFeed, type Feed } from "#server/watch/feed.ts";
import { createHub, type Hub } from "#server/watch/hub.ts";
import { matches, watchKind, type KindEvent } from "#server/watch/watch-kind.ts";
import { tempDir } from "#test/temp-store.ts";
import { keyOf, Model, type ModelChange, type ModelObject, type ModelWrite } from "./store-model.ts";

/**
 * Random writers, watchers, compactions, restarts and restores of backups against the model: every answer is what the model says, no change
 * is lost, repeated or out of order, and a watcher that is told Expired, which it may be only when its place is gone, lists and converges.
 */

const NAMES = ["a", "b", "c"];
const write = fc.record<ModelWrite>({
  op: fc.constantFrom("put", "put", "put", "delete", "check"),
  kind: fc.constantFrom("Service", "Service", "Service", "Event"),
  namespace: fc.constantFrom("n1", "n2"),
  name: fc.constantFrom(...NAMES),
  tier: fc.constantFrom("web", "db"),
  note: fc.constantFrom("1", "2", "3"),
  expect: fc.constantFrom("any", "any", "any", "create", "current", "stale"),
  claim: fc.constantFrom(undefined, undefined, "", "ip/1", "ip/2"),
});
const transaction = fc.uniqueArray(write, { minLength: 1, maxLength: 3, selector: keyOf });
const command = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("batch" as const), transactions: fc.array(transaction, { minLength: 1, maxLength: 4 }) }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("poll" as const), reader: fc.nat(2), limit: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("watch" as const), watcher: fc.nat(1), most: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("compact" as const), percent: fc.integer({ min: 0, max: 100 }) }) },
  { weight: 3, arbitrary: fc.constant({ do: "restart" as const }) },
  { weight: 1, arbitrary: fc.constant({ do: "backup" as const }) },
  { weight: 1, arbitrary: fc.constant({ do: "restore" as const }) },
);

type Command = typeof command extends fc.Arbitrary<infer One> ? One : never;

interface World {
  readonly path: string;
  model: Model;
  backup: Model | undefined;
  store: Store;
  hub: Hub;
  feed: Feed;
  over: AbortController;
  readonly readers: Reader[];
  readonly watchers: Watcher[];
}

/** An agent: follows all Services by the long poll. */
interface Reader {
  epoch: string;
  since: number;
  state: Map<string, ModelObject>;
}

/** A watch of one kind through selectors, by a client that keeps what it saw. */
interface Watcher {
  readonly sees: (object: ModelObject) => boolean;
  readonly open: (world: World, since: number) => AsyncGenerator<KindEvent, void>;
  events: AsyncGenerator<KindEvent, void> | undefined;
  /** The revision of the list it began with, or of the last event. */
  told: number;
  state: Map<string, ModelObject>;
}

test("the store and its watchers do what the model says", async () => {
  const dir = tempDir("memory");
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 60 }), async (commands) => {
      const folder = join(dir, String(run++));
      mkdirSync(folder);
      const world = openWorld(join(folder, "f.db"));
      try {
        for (const one of commands) await carryOut(world, one);
        await expectConverged(world);
      } finally {
        await closeWorld(world);
        rmSync(folder, { recursive: true });
      }
    }),
    // A lost change shows as an event that never comes, hence the timeout of a run; then, too, the seed is printed.
    { numRuns: 1000, timeout: 2000, interruptAfterTimeLimit: 40_000, markInterruptAsFailure: true },
  );
}, 60_000);

async function carryOut(world: World, one: Command): Promise<void> {
  switch (one.do) {
    case "batch":
      return writeBatch(world, one.transactions);
    case "poll":
      return poll(world, one.reader, one.limit);
    case "watch":
      return watchSome(world, one.watcher, one.most);
    case "compact":
      return compact(world, Math.floor((world.model.revision * one.percent) / 100));
    case "restart":
      return restart(world, () => undefined);
    case "backup":
      return restart(world, () => {
        copyFileSync(world.path, `${world.path}.backup`);
        world.backup = world.model.copy();
      });
    case "restore":
      return restore(world);
  }
}

function openWorld(path: string): World {
  const parts = openParts(path);
  const { epoch } = parts.store;
  const web = { labelSelector: parseLabelSelector("tier=web") };
  const notA = { fieldSelector: parseFieldSelector("metadata.name!=a") };
  return {
    path,
    model: new Model(),
    backup: undefined,
    ...parts,
    readers: [1, 2, 3].map(() => ({ epoch, since: 0, state: new Map<string, ModelObject>() })),
    watchers: [
      {
        sees: (object) => object.kind === "Service" && object.namespace === "n1" && matches(web, toObject(object)),
        open: ({ store, hub, over }, since) => watchKind({ store, hub }, { kind: "Service", namespace: "n1", since, ...web }, over.signal),
        events: undefined,
        told: 0,
        state: new Map<string, ModelObject>(),
      },
      {
        sees: (object) => object.kind === "Service" && matches(notA, toObject(object)),
        open: ({ store, hub, over }, since) => watchKind({ store, hub }, { kind: "Service", since, ...notA }, over.signal),
        events: undefined,
        told: 0,
        state: new Map<string, ModelObject>(),
      },
    ],
  };
}

function openParts(path: string): Pick<World, "store" | "hub" | "feed" | "over"> {
  const store = openStore({ path });
  const hub = createHub(store);
  return { store, hub, feed: createFeed({ store, hub }), over: new AbortController() };
}

async function closeWorld({ over, hub, store, watchers }: World): Promise<void> {
  over.abort();
  hub.close();
  for (const watcher of watchers) {
    await watcher.events?.return();
    watcher.events = undefined;
  }
  await store.close();
}

async function restart(world: World, meanwhile: () => void): Promise<void> {
  await closeWorld(world);
  meanwhile();
  Object.assign(world, openParts(world.path));
  expect(world.store.revision).toBe(world.model.revision);
  expect(world.store.compactedRevision).toBe(world.model.compacted);
}

async function restore(world: World): Promise<void> {
  const { backup, path } = world;
  if (!backup) return;
  await restart(world, () => {
    copyFileSync(`${path}.backup`, path);
    world.model = backup.copy();
  });
  // A client of Kubernetes' watch says no epoch, and cannot find out; agents do, and go on as if nothing were.
  for (const watcher of world.watchers) await listAgain(world, watcher);
}

/** All at the same moment, while those who are up to date wait for news. */
async function writeBatch(world: World, transactions: readonly ModelWrite[][]): Promise<void> {
  const { model, store } = world;
  const gone = new AbortController();
  const idle = world.readers.filter(({ since, epoch }) => store.knowsHistory(epoch, since) && since === model.revision);
  const waiting = idle.map((reader) => ({ reader, reply: ask(world, reader, 100, { timeoutMs: 60_000, signal: gone.signal }) }));
  const outcomes: Promise<string | undefined>[] = [];
  const wanted: (string | undefined)[] = [];
  const before = model.copy();
  for (const writes of transactions) {
    const expected = writes.map((one) => expectedRevision(before, one));
    outcomes.push(codeOf(store.transact(writes.map((one, i) => toWrite(one, expected[i])))));
    wanted.push(model.transact(writes, expected));
  }
  expect(await Promise.all(outcomes)).toEqual(wanted);
  expect(store.revision).toBe(model.revision);
  if (!model.changesAfter(before.revision).some(({ object }) => object.kind === "Service")) gone.abort();
  // The first commit answers them; a busy machine may have made several of the batch.
  for (const { reader, reply } of waiting) {
    const answer = await reply;
    expect((answer?.changes.length ?? 0) > 0).toBe(!gone.signal.aborted);
    take(world, reader, answer);
  }
}

function expectedRevision(model: Model, { op, expect: how, ...key }: ModelWrite): number | undefined {
  const current = model.objects.get(keyOf(key))?.revision ?? 0;
  if (how === "create") return 0;
  if (how === "stale") return current + 1;
  return how === "current" || op === "check" ? current : undefined;
}

function toWrite(one: ModelWrite, expected: number | undefined): Write {
  const { op, kind, namespace, name, claim } = one;
  if (op === "check") return { op, key: { kind, namespace, name }, expect: expected ?? 0 };
  if (op === "delete") return { op, key: { kind, namespace, name }, expect: expected };
  const claims = claim === undefined ? undefined : claim === "" ? [] : [claim];
  return { op, object: toObject(one), expect: one.expect === "create" ? "create" : expected, claims };
}

function toObject({ kind, namespace, name, tier, note }: Omit<ModelObject, "revision">): AnyObject {
  const metadata = { namespace, name, labels: { tier }, annotations: { note } };
  return kind === "Service"
    ? parseObject("Service", { apiVersion: "v1", kind, metadata, spec: { ports: [{ port: 80 }] } })
    : parseObject("Event", { apiVersion: "v1", kind, metadata, involvedObject: {} });
}

/** Back from what came out; also of a change's object in a reply. */
function toModel(object: AnyObject): ModelObject {
  const { namespace = "", name, labels, annotations, resourceVersion } = object.metadata;
  const kind = object.kind === "Event" ? "Event" : "Service";
  return { kind, namespace, name, tier: labels?.["tier"] ?? "", note: annotations?.["note"] ?? "", revision: Number(resourceVersion) };
}

async function codeOf(outcome: Promise<unknown>): Promise<string | undefined> {
  try {
    await outcome;
    return undefined;
  } catch (error) {
    if (isAppError(error)) return error.code;
    throw error;
  }
}

async function poll(world: World, which: number, limit: number): Promise<void> {
  const reader = world.readers[which];
  if (!reader) return;
  const reply = await ask(world, reader, limit, { timeoutMs: 0, signal: world.over.signal });
  take(world, reader, reply);
  // All is quiet, so an answer that is not full leaves nothing for later.
  const rest = world.model.changesAfter(reader.since).filter(({ object }) => object.kind === "Service");
  if (reply && reply.changes.length < limit) expect(rest).toEqual([]);
}

/** undefined: Expired, and the reader has started again from a list. */
async function ask(
  world: World,
  reader: Reader,
  limit: number,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<ChangesReply | undefined> {
  const { epoch, since } = reader;
  try {
    return ChangesReply.parse(JSON.parse((await world.feed.nextChanges({ since, epoch, limit, timeoutMs }, signal)).toString()));
  } catch (error) {
    if (!isAppError(error, "Expired")) throw error;
    // Only when the place was compacted, or when what the reader holds is not what this history had there.
    const sameHistory = since <= world.model.revision && world.store.knowsHistory(epoch, since);
    expect(since < world.model.compacted || !sameHistory).toBe(true);
    const { items, revision } = await world.store.list({ kind: "Service" });
    Object.assign(reader, { epoch: world.store.epoch, since: revision, state: byKey(items.map(toModel)) });
    return undefined;
  }
}

function take({ model }: World, reader: Reader, reply: ChangesReply | undefined): void {
  if (reply) {
    const expected = model.changesAfter(reader.since, reply.revision).filter(({ object }) => object.kind === "Service");
    const got = reply.changes.map(({ revision, type, object }) => ({ revision, type, object: toModel(object as AnyObject) }));
    expect(got).toEqual(expected.map(({ revision, type, object }) => ({ revision, type: type === "DELETED" ? "DELETE" : "PUT", object })));
    expect(reply.revision).toBeGreaterThanOrEqual(reader.since);
    for (const { type, object } of got)
      if (type === "DELETE") reader.state.delete(keyOf(object));
      else reader.state.set(keyOf(object), object);
    reader.since = reply.revision;
    reader.epoch = reply.epoch;
  }
  expect(reader.state).toEqual(model.stateAt(reader.since, "Service"));
}

/** Takes what the model says there is for it, at most `most`, so that it never waits for nothing. */
async function watchSome(world: World, which: number, most: number): Promise<void> {
  const watcher = world.watchers[which];
  if (!watcher) return;
  const expected = world.model.changesAfter(watcher.told).flatMap((change) => eventsFor(watcher, change));
  watcher.events ??= watcher.open(world, watcher.told);
  for (const wanted of expected.slice(0, most)) {
    const event = await nextEvent(world, watcher);
    if (!event) return;
    expect(event).toEqual(wanted);
    watcher.told = wanted.object.revision;
    if (wanted.type === "DELETED") watcher.state.delete(keyOf(wanted.object));
    else watcher.state.set(keyOf(wanted.object), wanted.object);
  }
}

/** undefined: Expired, and the watcher has started again from a list. */
async function nextEvent(world: World, watcher: Watcher): Promise<{ type: string; object: ModelObject } | undefined> {
  try {
    const { value } = (await watcher.events?.next()) ?? {};
    if (!value || value.type === "BOOKMARK") throw new Error("the watch ended, or told a bookmark nobody asked for");
    return { type: value.type, object: toModel(value.object) };
  } catch (error) {
    if (!isAppError(error, "Expired")) throw error;
    expect(watcher.told).toBeLessThan(world.model.compacted);
    await listAgain(world, watcher);
    return undefined;
  }
}

async function listAgain(world: World, watcher: Watcher): Promise<void> {
  const { items, revision } = await world.store.list({ kind: "Service" });
  await watcher.events?.return();
  watcher.events = undefined;
  watcher.told = revision;
  watcher.state = byKey(items.map(toModel).filter(watcher.sees));
}

function eventsFor({ sees }: Watcher, { type, object, previous, revision }: ModelChange): { type: string; object: ModelObject }[] {
  const was = previous !== undefined && sees(previous);
  const is = type !== "DELETED" && sees(object);
  if (is) return [{ type: was ? "MODIFIED" : "ADDED", object }];
  return was ? [{ type: "DELETED", object: { ...previous, revision } }] : [];
}

async function compact({ store, model }: World, revision: number): Promise<void> {
  await store.compact(revision);
  model.compacted = Math.max(model.compacted, revision);
  expect(store.compactedRevision).toBe(model.compacted);
}

/** Everybody reads to the end; a last change that all can see shows that nothing superfluous was before it. */
async function expectConverged(world: World): Promise<void> {
  const { model, store } = world;
  const last: ModelWrite = {
    op: "put",
    kind: "Service",
    namespace: "n1",
    name: "z",
    tier: "web",
    note: "last",
    expect: "any",
    claim: undefined,
  };
  await writeBatch(world, [[last]]);
  for (const [i, reader] of world.readers.entries())
    while (reader.since !== model.revision || reader.epoch !== store.epoch) await poll(world, i, 2);
  for (const [i, watcher] of world.watchers.entries()) while (watcher.told < model.revision) await watchSome(world, i, 3);
  for (const reader of world.readers) expect(reader.state).toEqual(model.stateAt(model.revision, "Service"));
  const all = model.stateAt(model.revision, "Service");
  for (const { state, sees } of world.watchers) expect(state).toEqual(byKey([...all.values()].filter(sees)));
  for (const kind of ["Service", "Event"] satisfies KindName[])
    expect(byKey((await store.list({ kind })).items.map(toModel))).toEqual(model.stateAt(model.revision, kind));
  expect(await store.claims("")).toEqual([...model.claims.keys()].toSorted());
  for (const [claim, owner] of model.claims) expect(keyOf((await store.claimOwner(claim)) as ModelObject)).toBe(owner);
}

function byKey(objects: readonly ModelObject[]): Map<string, ModelObject> {
  return new Map(objects.map((object) => [keyOf(object), object]));
}
