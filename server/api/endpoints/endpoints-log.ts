import { isDeepStrictEqual } from "node:util";
import { setImmediate as nextTurn } from "node:timers/promises";
import { serviceKeyOf } from "#proto/endpoint-slice.ts";
import type { KindName } from "#proto/kinds.ts";
import { keyOf, type ObjectKey } from "#proto/meta.ts";
import { compactedAway } from "#server/store/errors.ts";
import type { Store, StoredChange } from "#server/store/store.ts";
import type { ChangeOf } from "#server/watch/watch-kind.ts";
import { matching } from "../read.ts";
import { createChangeWindow } from "./change-window.ts";
import { endpointsOf, serviceFactsOf, sliceFactsOf, type Endpoints, type ServiceFacts, type SliceFacts } from "./endpoints.ts";

/**
 * All Endpoints as they are, and their newest changes. An Endpoints follows from several objects, so the store's own log does not say what it was; this
 * follows the commits, and a change costs what its service has. It is made when somebody first asks for Endpoints: most fleets never do.
 */
export interface EndpointsLog {
  /** Of one namespace or all, in the order of namespace and name, after that one; made as they are read. */
  all(namespace: string | undefined, after?: ObjectKey): Iterable<Endpoints>;
  get(namespace: string, name: string): Endpoints | undefined;
  /** Throws Expired where that is forgotten; whoever watches lists again then. */
  changesSince(since: number, limit: number): { readonly changes: readonly ChangeOf<Endpoints>[]; readonly revision: number };
  /** Older changes are forgotten. */
  readonly compactedRevision: number;
}

/** One version of what an Endpoints follows from. It is replaced, never changed. */
interface Held {
  readonly service: ServiceFacts | undefined;
  /** By the slice's name, SliceFacts as JSON: most of the time they only lie there. */
  readonly slices: ReadonlyMap<string, string>;
  readonly revision: number;
}

interface Logged {
  readonly revision: number;
  readonly namespace: string;
  readonly before: Held | undefined;
  readonly after: Held | undefined;
}

export const FOLLOWED_KINDS: ReadonlySet<KindName> = new Set(["Service", "EndpointSlice"]);
const NOTHING: Held = { service: undefined, slices: new Map(), revision: 0 };
const PAGE = 500;
/** Cost in characters, of JSON and of what leads to it. */
const KEPT = { changes: 2000, cost: 8 * 1024 * 1024 };
const COST_OF_SLICE = 64;

export async function openEndpointsLog(store: Store): Promise<EndpointsLog> {
  const held = new Map<ObjectKey, Held>();
  let log = createChangeWindow<Logged>(KEPT);

  function put(key: ObjectKey, next: Held, changed = ""): void {
    const before = held.get(key) ?? NOTHING;
    if (next.service === undefined && next.slices.size === 0) held.delete(key);
    else held.set(key, next);
    const [was, is] = [isThere(before), isThere(next)];
    if (!was && !is) return;
    const logged = {
      revision: next.revision,
      namespace: key.split("/", 1)[0] ?? "",
      before: was ? before : undefined,
      after: is ? next : undefined,
    };
    log.push(logged, changed.length + COST_OF_SLICE * (1 + next.slices.size));
  }

  function putSlice(key: ObjectKey, name: string, facts: string | undefined, revision: number): void {
    const before = held.get(key) ?? NOTHING;
    if (before.slices.get(name) === facts) return;
    const slices = new Map(before.slices);
    if (facts === undefined) slices.delete(name);
    else slices.set(name, facts);
    put(key, { ...before, slices, revision }, facts);
  }

  function follow({ type, object, previous, revision }: Parameters<Follow>[0]): void {
    if (object.kind === "Service") {
      const key = keyOf(object);
      const before = held.get(key) ?? NOTHING;
      const service = type === "DELETED" ? undefined : serviceFactsOf(object);
      if (!isDeepStrictEqual(service, before.service)) put(key, { ...before, service, revision });
    } else if (object.kind === "EndpointSlice") {
      const { name } = object.metadata;
      const key = type === "DELETED" ? undefined : serviceKeyOf(object);
      const formerKey = previous?.kind === "EndpointSlice" ? serviceKeyOf(previous) : undefined;
      if (formerKey !== undefined && formerKey !== key) putSlice(formerKey, name, undefined, revision);
      const facts = key === undefined ? undefined : sliceFactsOf(object);
      if (key !== undefined) putSlice(key, name, facts && JSON.stringify(facts), revision);
    }
  }

  const beginning = await loadThenFollow(store, follow);
  log = createChangeWindow(KEPT);
  const compactedRevision = (): number => Math.max(beginning, log.droppedRevision);
  const madeBefore = createMade();
  return {
    *all(namespace, after = "") {
      // Versions do not change, so this is one state, however slowly it is read.
      const now = [...held].filter(
        ([key, one]) => isThere(one) && (namespace === undefined || key.startsWith(`${namespace}/`)) && compareKeys(key, after) > 0,
      );
      for (const [, one] of now.toSorted(([a], [b]) => compareKeys(a, b))) {
        const object = made(one);
        if (object) yield object;
      }
    },
    get: (namespace, name) => made(held.get(`${namespace}/${name}`)),
    changesSince: (since, limit) => {
      if (since < compactedRevision()) throw compactedAway(since, compactedRevision());
      const found = log.after(since, limit);
      const revision = found.length < limit ? Math.max(store.revision, since) : (found.at(-1)?.revision ?? since);
      return { changes: found.flatMap((one) => changeOf(one, madeBefore)), revision };
    },
    get compactedRevision() {
      return compactedRevision();
    },
  };
}

type Follow = (change: Pick<StoredChange, "type" | "object" | "previous" | "revision">) => void;

/** Calls for all that there is, and then for every change; resolves with the revision up to which it has, when all was read. */
async function loadThenFollow(store: Store, follow: Follow): Promise<number> {
  const early: StoredChange[] = [];
  let sink = (changes: readonly StoredChange[]): void => void early.push(...changes);
  const unfollow = store.onCommit((changes) => sink(changes));
  try {
    for (const kind of FOLLOWED_KINDS) await readAll(store, kind, follow);
  } catch (error) {
    unfollow(); // whoever asks next begins anew
    throw error;
  }
  // What the pages had already is told again, in order: what is last is right.
  for (const change of early) follow(change);
  sink = (changes) => {
    for (const change of changes) follow(change);
  };
  return store.revision;
}

async function readAll(store: Store, kind: KindName, follow: Follow): Promise<void> {
  let read = 0;
  for await (const object of matching(store, { kind, namespace: undefined, labelSelector: [], fieldSelector: [] })) {
    follow({ type: "ADDED", object, previous: undefined, revision: Number(object.metadata.resourceVersion) });
    if (++read % PAGE === 0) await nextTurn(); // others have their answers meanwhile
  }
}

/** As in Kubernetes: of each service with a selector, and of others that somebody wrote slices for. */
function isThere({ service, slices }: Held): boolean {
  return service !== undefined && (service.hasSelector || slices.size > 0);
}

type Make = (one: Held | undefined) => Endpoints | undefined;

const made: Make = (one) => {
  if (one?.service === undefined || !isThere(one)) return undefined;
  const slices = [...one.slices.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => JSON.parse(text) as SliceFacts); // written by us
  return Object.freeze(endpointsOf(one.service, slices, one.revision));
};

/** All who watch are told of the newest versions at the same moment: each is made once. */
const MADE = 64;

function createMade(): Make {
  const newest = new Map<Held, Endpoints>();
  return (one) => {
    const known = one && newest.get(one);
    if (known) return known;
    const object = made(one);
    const [oldest] = newest.keys();
    if (oldest && newest.size === MADE) newest.delete(oldest);
    if (one && object) newest.set(one, object);
    return object;
  };
}

function changeOf({ revision, namespace, before, after }: Logged, make: Make): ChangeOf<Endpoints>[] {
  const object = make(after) ?? (before && made({ ...before, revision }));
  if (!object) return [];
  const type = after === undefined ? "DELETED" : before === undefined ? "ADDED" : "MODIFIED";
  return [{ revision, type, key: { namespace }, object, previous: make(before) }];
}

function compareKeys(a: ObjectKey, b: ObjectKey): number {
  const [namespaceA = "", nameA = ""] = a.split("/");
  const [namespaceB = "", nameB = ""] = b.split("/");
  if (namespaceA !== namespaceB) return namespaceA < namespaceB ? -1 : 1;
  if (nameA === nameB) return 0;
  return nameA < nameB ? -1 : 1;
}
