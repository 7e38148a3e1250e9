import { describe, expect, test } from "vitest";
import { parseObject } from "#proto/parse.ts";
import { ClaimTaken } from "#server/store/errors.ts";
import type { StoredChange, Write } from "#server/store/store.ts";
import { aStoredService, serviceKey, tempStore } from "#test/temp-store.ts";
import { waitFor } from "#test/wait-for.ts";

const put = (name: string, note?: string, expected?: "create" | number): Write => ({
  op: "put",
  object: aStoredService(name, note === undefined ? {} : { note }),
  expect: expected,
});
const summary = ({ revision, type, key, object, previous }: StoredChange) =>
  `${revision} ${type} ${key.name} now=${object.metadata.annotations?.["note"] ?? ""}@${object.metadata.resourceVersion ?? ""} was=${previous?.metadata.resourceVersion ?? ""}`;

describe("what is written", () => {
  test("an object is given back with the revision of its last change as resourceVersion", async () => {
    const store = tempStore();
    await store.transact([put("a")]);
    const { revision, objects } = await store.transact([put("b")]);
    expect(revision).toBe(2);
    expect(objects[0]).toEqual({ ...aStoredService("b"), metadata: { name: "b", namespace: "default", resourceVersion: "2" } });
    expect(await store.get(serviceKey("b"))).toEqual(objects[0]);
    expect(await store.get(serviceKey("c"))).toBeUndefined();
  });

  test("what the store gives out cannot be changed, and does not change with what was put", async () => {
    const store = tempStore();
    const object = aStoredService("a", { labels: { app: "x" } });
    const { objects } = await store.transact([{ op: "put", object }]);
    Object.assign(object.metadata.labels ?? {}, { app: "changed" });
    expect(objects[0]?.metadata.labels).toEqual({ app: "x" });
    expect(() => Object.assign(objects[0]?.metadata.labels ?? {}, { app: "changed" })).toThrow(TypeError);
  });

  test("a put that changes nothing takes no revision and makes no change, whatever the order of the fields", async () => {
    const store = tempStore();
    await store.transact([put("a", "x")]);
    const { metadata, ...rest } = aStoredService("a", { note: "x" });
    const again = await store.transact([{ op: "put", object: { metadata: { ...metadata, resourceVersion: "77" }, ...rest }, expect: 1 }]);
    expect(again.objects[0]?.metadata.resourceVersion).toBe("1");
    expect(store.revision).toBe(1);
    expect((await store.changesSince(0, { limit: 10 })).changes).toHaveLength(1);
  });

  test("the log tells creation, change and deletion with what was before", async () => {
    const store = tempStore();
    await store.transact([put("a", "x")]);
    await store.transact([put("a", "y")]);
    const { objects } = await store.transact([{ op: "delete", key: serviceKey("a") }]);
    expect(objects[0]?.metadata.resourceVersion).toBe("3");
    const { changes, revision } = await store.changesSince(0, { limit: 10 });
    expect(changes.map(summary)).toEqual(["1 ADDED a now=x@1 was=", "2 MODIFIED a now=y@2 was=1", "3 DELETED a now=y@3 was=2"]);
    expect(revision).toBe(3);
  });

  test("a transaction is all or nothing", async () => {
    const store = tempStore();
    await store.transact([put("a")]);
    await expect(store.transact([put("b"), put("c"), put("a", "x", "create")])).rejects.toThrow('services "a" already exists');
    expect(store.revision).toBe(1);
    expect((await store.list({ kind: "Service" })).items).toHaveLength(1);
  });

  test("a transaction may not write an object twice", async () => {
    await expect(tempStore().transact([put("a"), put("a")])).rejects.toThrow("only once");
  });
});

describe("refusals use the words of Kubernetes", () => {
  const workload = { kind: "Workload", namespace: "default", name: "w1" } as const;
  test.for<[string, Write, { code: string; message: string }]>([
    ["create of what exists", put("web", "x", "create"), { code: "AlreadyExists", message: 'services "web" already exists' }],
    [
      "a stale revision",
      put("web", "x", 7),
      {
        code: "Conflict",
        message:
          'Operation cannot be fulfilled on services "web": the object has been modified; please apply your changes to the latest version and try again',
      },
    ],
    ["an update of what is gone", put("nope", "x", 7), { code: "NotFound", message: 'services "nope" not found' }],
    [
      "deletion of what is not there",
      { op: "delete", key: workload },
      { code: "NotFound", message: 'workloads.fairlead.dev "w1" not found' },
    ],
    [
      "a check that does not hold",
      { op: "check", key: serviceKey("web"), expect: 0 },
      { code: "AlreadyExists", message: 'services "web" already exists' },
    ],
    [
      "a check of what is gone",
      { op: "check", key: workload, expect: 3 },
      { code: "NotFound", message: 'workloads.fairlead.dev "w1" not found' },
    ],
  ])("%s", async ([, write, refusal]) => {
    const store = tempStore();
    await store.transact([put("web")]);
    await expect(store.transact([write])).rejects.toMatchObject(refusal);
    expect(store.revision).toBe(1);
  });
});

describe("claims", () => {
  const claiming = (name: string, ...claims: string[]): Write => ({ op: "put", object: aStoredService(name), claims });

  test("a claim is held by one object, and the refusal says which", async () => {
    const store = tempStore();
    await store.transact([claiming("a", "ip/10.96.0.1", "ip/10.96.0.2")]);
    const refused = store.transact([claiming("b", "ip/10.96.0.2")]);
    await expect(refused).rejects.toBeInstanceOf(ClaimTaken);
    await expect(refused).rejects.toMatchObject({ code: "Conflict", claim: "ip/10.96.0.2", owner: serviceKey("a") });
    expect(await store.get(serviceKey("b"))).toBeUndefined();
    expect(await store.claimOwner("ip/10.96.0.2")).toEqual(serviceKey("a"));
    expect(await store.claims("ip/")).toEqual(["ip/10.96.0.1", "ip/10.96.0.2"]);
    expect(await store.claims("nodeport/")).toEqual([]);
  });

  test("of writers that race for a claim in one batch one gets it", async () => {
    const store = tempStore();
    const names = Array.from({ length: 20 }, (_, i) => `s${i}`);
    const outcomes = await Promise.allSettled(names.map((name) => store.transact([claiming(name, "ip/1")])));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await store.claimOwner("ip/1")).toEqual(serviceKey("s0"));
    expect((await store.list({ kind: "Service" })).items).toHaveLength(1);
  });

  test("a put without claims keeps them, a put with others lets go, a deletion lets go of all", async () => {
    const store = tempStore();
    await store.transact([claiming("a", "x", "y")]);
    await store.transact([put("a", "status")]);
    expect(await store.claims("")).toEqual(["x", "y"]);
    await store.transact([claiming("a", "y", "z")]);
    expect(await store.claims("")).toEqual(["y", "z"]);
    await store.transact([{ op: "delete", key: serviceKey("a") }]);
    expect(await store.claims("")).toEqual([]);
  });

  test("two objects may exchange their claims in one transaction", async () => {
    const store = tempStore();
    await store.transact([claiming("a", "x"), claiming("b", "y")]);
    await store.transact([claiming("a", "y"), claiming("b", "x")]);
    expect(await store.claimOwner("x")).toEqual(serviceKey("b"));
    expect(await store.claimOwner("y")).toEqual(serviceKey("a"));
  });
});

describe("lists", () => {
  test("are in the order of namespace and name, and pages join without gaps", async () => {
    const store = tempStore();
    const keys = ["b/x", "a/z", "a/b", "c/a", "b/a"];
    for (const key of keys) {
      const [namespace = "", name = ""] = key.split("/");
      await store.transact([{ op: "put", object: aStoredService(name, { namespace }) }]);
    }
    const seen: string[] = [];
    let after: { namespace: string; name: string } | undefined;
    do {
      const { items, more, revision } = await store.list({ kind: "Service", limit: 2, after });
      expect(revision).toBe(5);
      for (const { metadata } of items) seen.push(`${metadata.namespace ?? ""}/${metadata.name}`);
      const last = items.at(-1)?.metadata;
      after = more && last ? { namespace: last.namespace ?? "", name: last.name } : undefined;
    } while (after);
    expect(seen).toEqual(keys.toSorted());
    const inB = await store.list({ kind: "Service", namespace: "b", limit: 1 });
    expect([inB.items.map(({ metadata }) => metadata.name), inB.more]).toEqual([["a"], true]);
    const rest = await store.list({ kind: "Service", namespace: "b", after: { namespace: "b", name: "a" } });
    expect([rest.items.map(({ metadata }) => metadata.name), rest.more]).toEqual([["x"], false]);
  });

  test("a list of thousands is of one revision although writers go on meanwhile", async () => {
    const store = tempStore();
    await Promise.all(Array.from({ length: 1200 }, (_, i) => store.transact([put(`s${i}`, "old")])));
    const listing = store.list({ kind: "Service" });
    const writing = Promise.all(Array.from({ length: 1200 }, (_, i) => store.transact([put(`s${i}`, "new")])));
    const { items, revision } = await listing;
    await writing;
    expect(revision).toBe(1200);
    expect(items.every(({ metadata }) => metadata.annotations?.["note"] === "old")).toBe(true);
  });
});

describe("group commit", () => {
  test("the failure of one writer leaves the others of its batch alone, and revisions have no gaps", async () => {
    const attempt = async () => {
      const store = tempStore();
      await store.transact([put("taken")]);
      const batches: number[][] = [];
      store.onCommit((changes) => batches.push(changes.map(({ revision }) => revision)));
      const outcomes = await Promise.allSettled(
        ["a", "taken", "b", "taken", "c"].map((name) => store.transact([put(`${name}-2`), put(name, "x", "create")])),
      );
      // Where a write takes milliseconds the batch ends before all of them (BATCH_MS): another one, then.
      return batches.length === 1 ? { store, batches, outcomes } : undefined;
    };
    const { store, batches, outcomes } = await waitFor(attempt, { what: "all to be of one batch" });
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "rejected", "fulfilled"]);
    expect(batches).toEqual([[2, 3, 4, 5, 6, 7]]);
    expect(store.revision).toBe(7);
    const { changes } = await store.changesSince(0, { limit: 100 });
    expect(changes.map(({ key }) => key.name)).toEqual(["taken", "a-2", "a", "b-2", "b", "c-2", "c"]);
  });

  test("a writer that fails late, at its claim, leaves neither objects nor changes nor a gap", async () => {
    const store = tempStore();
    const heard: string[] = [];
    store.onCommit((changes) => heard.push(...changes.map(({ revision, key }) => `${revision} ${key.name}`)));
    const claim = (name: string): Write => ({ op: "put", object: aStoredService(name), claims: ["ip/1"] });
    const outcomes = await Promise.allSettled([[claim("a")], [put("b"), claim("c")], [put("d")]].map((writes) => store.transact(writes)));
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(heard).toEqual(["1 a", "2 d"]);
    expect((await store.changesSince(0, { limit: 9 })).changes.map(({ key }) => key.name)).toEqual(["a", "d"]);
    expect(await store.get(serviceKey("b"))).toBeUndefined();
  });

  test("listeners hear of a commit before its writer does, and no more after they stopped", async () => {
    const store = tempStore();
    const heard: number[] = [];
    const stop = store.onCommit((changes) => heard.push(...changes.map(({ revision }) => revision)));
    await store.transact([put("a")]);
    expect(heard).toEqual([1]);
    stop();
    await store.transact([put("b")]);
    expect(heard).toEqual([1]);
  });

  test("too many waiting writers are told to come back", async () => {
    const store = tempStore();
    const outcomes = await Promise.allSettled(Array.from({ length: 10_050 }, () => store.records.put("b", "id", 1)));
    const refused = outcomes.filter((outcome) => outcome.status === "rejected");
    expect(refused).toHaveLength(50);
    expect(refused[0]?.reason).toMatchObject({ code: "TooManyRequests", retryAfterSeconds: 1 });
  });

  test("closing ends what waits and refuses what comes later", async () => {
    const store = tempStore();
    const waiting = store.transact([put("a")]);
    const closing = store.close();
    await expect(store.transact([put("b")])).rejects.toMatchObject({ code: "ServiceUnavailable" });
    await expect(waiting).resolves.toMatchObject({ revision: 1 });
    await closing;
  });
});

describe("the log", () => {
  test("is read by kind and in pieces, and says how far was looked", async () => {
    const store = tempStore();
    const namespace = (name: string): Write => ({
      op: "put",
      object: parseObject("Namespace", { apiVersion: "v1", kind: "Namespace", metadata: { name } }),
    });
    for (const name of ["a", "b", "c"]) await store.transact([put(name), namespace(name)]);
    const kinds = new Set(["Service"] as const);
    const first = await store.changesSince(0, { kinds, limit: 2 });
    expect([first.changes.map(({ revision }) => revision), first.revision]).toEqual([[1, 3], 3]);
    const rest = await store.changesSince(first.revision, { kinds, limit: 2 });
    expect([rest.changes.map(({ revision }) => revision), rest.revision]).toEqual([[5], 6]);
  });

  test("what is older than memory reaches back is read from the database, and is the same", async () => {
    const store = tempStore();
    await Promise.all(Array.from({ length: 7000 }, (_, i) => store.transact([put(`s${i % 50}`, `n${i}`)])));
    const seen: string[] = [];
    for (let since = 0; since < store.revision;) {
      const { changes, revision } = await store.changesSince(since, { limit: 900 });
      expect(revision).toBeGreaterThan(since);
      seen.push(...changes.map(summary));
      since = revision;
    }
    expect(seen).toEqual(
      Array.from(
        { length: 7000 },
        (_, i) => `${i + 1} ${i < 50 ? "ADDED" : "MODIFIED"} s${i % 50} now=n${i}@${i + 1} was=${i < 50 ? "" : i - 49}`,
      ),
    );
  });

  test("a compacted or future revision is Expired, the compacted one itself is not", async () => {
    const store = tempStore();
    for (const note of ["x", "y", "z"]) await store.transact([put("a", note)]);
    await store.compact(2);
    expect(store.compactedRevision).toBe(2);
    await expect(store.changesSince(1, { limit: 9 })).rejects.toMatchObject({
      code: "Expired",
      message: "too old resource version: 1 (2)",
    });
    await expect(store.changesSince(4, { limit: 9 })).rejects.toMatchObject({ code: "Expired" });
    expect((await store.changesSince(2, { limit: 9 })).changes.map(summary)).toEqual(["3 MODIFIED a now=z@3 was=2"]);
    await store.compact(1);
    expect(store.compactedRevision).toBe(2);
  });

  test("compaction at a deletion keeps the deletion for those who are just before it", async () => {
    const store = tempStore();
    await store.transact([put("a")]);
    await store.transact([{ op: "delete", key: serviceKey("a") }]);
    await store.compact(1);
    expect((await store.changesSince(1, { limit: 9 })).changes.map(({ type }) => type)).toEqual(["DELETED"]);
    await store.compact(999);
    expect(store.compactedRevision).toBe(2);
    expect(store.revision).toBe(2);
    await store.transact([put("b")]);
    expect(store.revision).toBe(3);
  });

  test("the bounds of count, age and bytes say how much may go", async () => {
    let time = 1000;
    const store = tempStore({ now: () => time });
    for (let i = 0; i < 10; i++) {
      time = 1000 + i * 10;
      await store.transact([put("a", `${"x".repeat(1000)}${i}`)]);
    }
    const wide = { changes: 1000, ageMs: 1e6, bytes: 1e9 };
    expect(await store.compactable(wide)).toBe(0);
    expect(await store.compactable({ ...wide, changes: 4 })).toBe(6);
    expect(await store.compactable({ ...wide, ageMs: 25 })).toBe(7); // 8, 9 and 10 are of 1070, 1080 and 1090
    const last = await store.compactable({ ...wide, bytes: 5000 });
    expect(last).toBeGreaterThan(6);
    expect(last).toBeLessThan(10);
    await store.compact(last);
    expect(await store.compactable({ ...wide, bytes: 5000 })).toBe(last);
  });

  test("a compaction of many changes leaves the event loop free in between", async () => {
    const store = tempStore();
    await Promise.all(Array.from({ length: 3000 }, (_, i) => store.transact([put("a", `n${i}`)])));
    let turns = 0;
    let going = true;
    const count = (): void => {
      turns++;
      if (going) setImmediate(count);
    };
    setImmediate(count);
    await store.compact(3000);
    going = false;
    expect(turns).toBeGreaterThan(15);
  });
});

describe("records", () => {
  test("are put, read, listed in order and deleted, without a revision", async () => {
    const store = tempStore();
    const { records } = store;
    await records.put("tokens", "b", { hash: "h" });
    await records.put("tokens", "a", [1]);
    await records.put("keys", "a", "k");
    expect(await records.get("tokens", "b")).toEqual({ hash: "h" });
    expect(await records.list("tokens")).toEqual([
      { id: "a", value: [1] },
      { id: "b", value: { hash: "h" } },
    ]);
    expect(await records.delete("tokens", "b")).toBe(true);
    expect(await records.delete("tokens", "b")).toBe(false);
    expect(await records.get("tokens", "b")).toBeUndefined();
    expect(store.revision).toBe(0);
  });

  test("a use is taken once, however many ask at the same moment", async () => {
    const { records } = tempStore();
    await records.put("tokens", "t", { usesLeft: 3 });
    const take = () =>
      records.update("tokens", "t", (current) => {
        const { usesLeft } = current as { usesLeft: number };
        if (usesLeft === 0) throw new Error("used up");
        return { usesLeft: usesLeft - 1 };
      });
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, take));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
    expect(await records.get("tokens", "t")).toEqual({ usesLeft: 0 });
    await records.update("tokens", "t", () => undefined);
    expect(await records.list("tokens")).toEqual([]);
  });
});
