import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isAppError } from "#proto/error.ts";
import { kinds } from "#proto/kinds.ts";
import { growthOf } from "#test/cpu-time.ts";
import { strategicPatch } from "./strategic-patch.ts";

const keys = kinds.Service.merging;
const http = { name: "http", port: 80, targetPort: 8080 };
const dns = { name: "dns", port: 53, protocol: "UDP" };
const current = {
  metadata: { labels: { a: "1", b: "2" }, finalizers: ["one", "two"] },
  spec: { type: "ClusterIP", selector: { app: "web" }, ports: [http, dns], externalIPs: ["198.51.100.1"] },
};

describe("a strategic merge patch", () => {
  const rows: { name: string; patch: Record<string, unknown>; want: unknown }[] = [
    {
      name: "merges objects, and null removes",
      patch: { metadata: { labels: { a: null, c: "3" } } },
      want: { ...current, metadata: { ...current.metadata, labels: { b: "2", c: "3" } } },
    },
    {
      name: "merges ports by their number",
      patch: { spec: { ports: [{ port: 80, targetPort: 9090 }] } },
      want: spec({ ports: [{ ...http, targetPort: 9090 }, dns] }),
    },
    {
      name: "adds a port that is not there",
      patch: { spec: { ports: [{ name: "s", port: 443 }] } },
      want: spec({ ports: [http, dns, { name: "s", port: 443 }] }),
    },
    { name: "removes a port", patch: { spec: { ports: [{ $patch: "delete", port: 80 }] } }, want: spec({ ports: [dns] }) },
    { name: "removes a port that is not there", patch: { spec: { ports: [{ $patch: "delete", port: 81 }] } }, want: current },
    {
      name: "replaces a merged list",
      patch: { spec: { ports: [{ $patch: "replace" }, { name: "x", port: 1 }] } },
      want: spec({ ports: [{ name: "x", port: 1 }] }),
    },
    {
      name: "removes every port with that number, as Kubernetes does",
      patch: {
        spec: {
          ports: [
            { $patch: "delete", port: 53 },
            { name: "dns-tcp", port: 53, protocol: "TCP" },
          ],
        },
      },
      want: spec({ ports: [http, { name: "dns-tcp", port: 53, protocol: "TCP" }] }),
    },
    {
      name: "deletes first, wherever the directive stands",
      patch: {
        spec: {
          ports: [
            { name: "new", port: 80, targetPort: 1 },
            { $patch: "delete", port: 80 },
          ],
        },
      },
      want: spec({ ports: [dns, { name: "new", port: 80, targetPort: 1 }] }),
    },
    {
      name: "replaces a merged list by a directive that has a key, too",
      patch: {
        spec: {
          ports: [
            { $patch: "replace", port: 80 },
            { name: "z", port: 99 },
          ],
        },
      },
      want: spec({ ports: [{ name: "z", port: 99 }] }),
    },
    {
      name: "replaces other lists whole",
      patch: { spec: { externalIPs: ["198.51.100.2"] } },
      want: spec({ externalIPs: ["198.51.100.2"] }),
    },
    {
      name: "orders a merged list",
      patch: { spec: { "$setElementOrder/ports": [{ port: 53 }, { port: 80 }] } },
      want: spec({ ports: [dns, http] }),
    },
    {
      name: "orders with an addition, as kubectl apply sends it",
      patch: { spec: { "$setElementOrder/ports": [{ port: 443 }, { port: 80 }, { port: 53 }], ports: [{ name: "s", port: 443 }] } },
      want: spec({ ports: [{ name: "s", port: 443 }, http, dns] }),
    },
    {
      name: "replaces an object",
      patch: { spec: { selector: { $patch: "replace", tier: "x" } } },
      want: spec({ selector: { tier: "x" } }),
    },
    {
      name: "empties an object",
      patch: { spec: { selector: { $patch: "delete" } } },
      want: { ...current, spec: without(current.spec, "selector") },
    },
    {
      name: "keeps named keys only",
      patch: { spec: { $retainKeys: ["type", "ports"], type: "NodePort" } },
      want: { ...current, spec: { type: "NodePort", ports: [http, dns] } },
    },
    {
      name: "adds to and takes from a set",
      patch: { metadata: { finalizers: ["three"], "$deleteFromPrimitiveList/finalizers": ["one"] } },
      want: { ...current, metadata: { ...current.metadata, finalizers: ["two", "three"] } },
    },
    { name: "removes a merged list", patch: { spec: { ports: null } }, want: { ...current, spec: without(current.spec, "ports") } },
    { name: "that is empty changes nothing", patch: {}, want: current },
  ];
  test.for(rows)("$name", ({ patch, want }) => {
    const before = structuredClone(current);
    expect(strategicPatch(current, patch, keys)).toEqual(want);
    expect(current).toEqual(before);
  });

  const bad: { name: string; patch: Record<string, unknown> }[] = [
    { name: "an item without its key", patch: { spec: { ports: [{ name: "x" }] } } },
    { name: "an unknown directive", patch: { spec: { selector: { $patch: "explode" } } } },
    { name: "an order that is no list", patch: { spec: { "$setElementOrder/ports": 1 } } },
    { name: "kept keys that are no list", patch: { spec: { $retainKeys: "type" } } },
  ];
  test.for(bad)("with $name is refused", ({ patch }) => {
    expect(() => strategicPatch(current, patch, keys)).toThrow(expect.toSatisfy((error: unknown) => isAppError(error, "BadRequest")));
  });
});

test("applying a patch again changes nothing more, and only what the patch names", () => {
  const port = fc.record({ port: fc.integer({ min: 1, max: 5 }), name: fc.constantFrom("a", "b", "c") });
  const ports = fc.uniqueArray(port, { selector: ({ port: number }) => number, maxLength: 5 });
  const labels = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.option(fc.constantFrom("x", "y")), { maxKeys: 3 });
  fc.assert(
    fc.property(ports, ports, labels, (existing, changes, wanted) => {
      const object = { metadata: { labels: { z: "stays" } }, spec: { ports: existing } };
      const patch = { metadata: { labels: wanted }, spec: { ports: changes } };
      const once = strategicPatch(object, patch, keys) as typeof object;
      expect(strategicPatch(once, patch, keys)).toEqual(once);
      expect(once.metadata.labels.z).toBe("stays");
      for (const one of existing) if (!changes.some((change) => change.port === one.port)) expect(once.spec.ports).toContainEqual(one);
      for (const one of changes) expect(once.spec.ports).toContainEqual(one);
    }),
  );
});

/** What a Service has of each sort that a patch treats differently: a list with a key, a set, a map, plain fields. */
interface Sample {
  readonly ports: readonly { readonly port: number; readonly name?: string; readonly targetPort?: number }[];
  readonly finalizers: readonly string[];
  readonly selector: Readonly<Record<string, string>>;
  readonly plain: Readonly<Record<string, string>>;
}

/** What is asked for, in words of its own; `patchOf` says it in directives, `outcomeOf` does it in the plainest way. */
interface Wish {
  readonly ports: Sample["ports"];
  readonly deleted: readonly number[];
  readonly isWholeList: boolean;
  readonly order: readonly number[] | undefined;
  readonly added: readonly string[];
  readonly takenOut: readonly string[];
  readonly selector: { readonly how: "merge" | "replace" | "delete"; readonly fields: Readonly<Record<string, string | null>> };
  readonly plain: Readonly<Record<string, string>>;
  readonly retained: readonly string[] | undefined;
}

function objectOf({ ports, finalizers, selector, plain }: Sample): object {
  return { metadata: { finalizers }, spec: { ...plain, ports, selector } };
}

function patchOf(wish: Wish): Record<string, unknown> {
  const directives = [...(wish.isWholeList ? [{ $patch: "replace" }] : []), ...wish.deleted.map((port) => ({ $patch: "delete", port }))];
  const { how, fields } = wish.selector;
  return {
    metadata: { finalizers: wish.added, "$deleteFromPrimitiveList/finalizers": wish.takenOut },
    spec: {
      ...wish.plain,
      ...(wish.retained && { $retainKeys: [...wish.retained, ...Object.keys(wish.plain), "ports", "selector"] }),
      ...(wish.order && { "$setElementOrder/ports": wish.order.map((port) => ({ port })) }),
      ports: [...directives, ...wish.ports],
      selector: how === "merge" ? fields : { $patch: how, ...fields },
    },
  };
}

/** But for the order of ports. */
function outcomeOf(before: Sample, wish: Wish) {
  const ports = new Map(before.ports.map((port) => [port.port, port]));
  if (wish.isWholeList) ports.clear();
  for (const port of wish.deleted) ports.delete(port);
  for (const port of wish.ports) ports.set(port.port, { ...ports.get(port.port), ...port });
  const { how, fields } = wish.selector;
  const selector = { ...(how === "merge" ? before.selector : {}), ...fields };
  const plain = Object.entries(before.plain).filter(([key]) => !wish.retained || wish.retained.includes(key));
  return {
    ports: [...ports.values()],
    finalizers: [...new Set([...before.finalizers, ...wish.added])].filter((name) => !wish.takenOut.includes(name)),
    selector: how === "delete" ? undefined : Object.fromEntries(Object.entries(selector).filter(([, value]) => value !== null)),
    plain: { ...Object.fromEntries(plain), ...wish.plain },
  };
}

test("directives do what they say, each beside the others, and a second time nothing", () => {
  const number = fc.integer({ min: 1, max: 6 });
  const port = fc.record(
    { port: number, name: fc.constantFrom("a", "b"), targetPort: fc.integer({ min: 1, max: 3 }) },
    { requiredKeys: ["port"], noNullPrototype: true },
  );
  const ports = fc.uniqueArray(port, { selector: (one) => one.port, maxLength: 5 });
  const names = fc.uniqueArray(fc.constantFrom("one", "two", "three", "four"), { maxLength: 4 });
  const texts = (keys: string[]) =>
    fc.dictionary(fc.constantFrom(...keys), fc.constantFrom("x", "y"), { maxKeys: 3, noNullPrototype: true });
  const sample: fc.Arbitrary<Sample> = fc.record({
    ports,
    finalizers: names,
    selector: texts(["a", "b", "c"]),
    plain: texts(["p", "q", "r"]),
  });
  const how = fc.constantFrom("merge" as const, "replace" as const, "delete" as const);
  const wished = fc.record<Wish>({
    ports,
    deleted: fc.uniqueArray(number, { maxLength: 3 }),
    isWholeList: fc.integer({ min: 0, max: 3 }).map((die) => die === 0),
    order: fc.option(fc.uniqueArray(number, { maxLength: 6 }), { nil: undefined }),
    added: names,
    takenOut: names,
    selector: fc
      .record({
        how,
        fields: fc.dictionary(fc.constantFrom("a", "b", "c"), fc.option(fc.constantFrom("x", "z")), { noNullPrototype: true }),
      })
      .map((one) =>
        one.how === "merge" ? one : { ...one, fields: Object.fromEntries(Object.entries(one.fields).filter(([, v]) => v !== null)) },
      ),
    plain: texts(["p", "q", "r"]),
    retained: fc.option(fc.uniqueArray(fc.constantFrom("p", "q", "r")), { nil: undefined }),
  });
  fc.assert(
    fc.property(sample, wished, (before, wish) => {
      const object = objectOf(before);
      const patch = patchOf(wish);
      const untouched = structuredClone([object, patch]);
      const once = strategicPatch(object, patch, keys) as { metadata: { finalizers: string[] }; spec: Record<string, unknown> };
      expect([object, patch]).toEqual(untouched);
      // Whoever takes a port out and adds it again puts it at the end, each time.
      const isMoved = !wish.isWholeList && wish.ports.some((one) => wish.deleted.includes(one.port));
      if (!isMoved) expect(strategicPatch(once, patch, keys)).toEqual(once);

      const wanted = outcomeOf(before, wish);
      const { ports: made, selector, ...plain } = once.spec as { ports: Sample["ports"]; selector: unknown };
      expect({ ...once.metadata, selector, plain }).toEqual({
        finalizers: wanted.finalizers,
        selector: wanted.selector,
        plain: wanted.plain,
      });
      const sorted = (list: Sample["ports"]) => list.toSorted((a, b) => a.port - b.port);
      expect(sorted(made)).toEqual(sorted(wanted.ports));
      const order = made.map((one) => one.port);
      const isNamed = (one: number): boolean => wish.order?.includes(one) === true;
      // Named items stand in the order that is asked for, the others where they would stand without it.
      expect(order.filter(isNamed)).toEqual((wish.order ?? []).filter((one) => order.includes(one)));
      const places = (list: readonly number[]) => list.map((one) => (isNamed(one) ? 0 : one));
      if (!isMoved) expect(places(order)).toEqual(places(wanted.ports.map((one) => one.port)));
    }),
    { numRuns: 500 },
  );
});

function spec(more: object): unknown {
  return { ...current, spec: { ...current.spec, ...more } };
}

function without(object: object, key: string): object {
  return Object.fromEntries(Object.entries(object).filter(([one]) => one !== key));
}

test("a large patch takes time in proportion to its size", () => {
  const work = (count: number): void => {
    const ports = Array.from({ length: count }, (_, i) => ({ port: i, name: `p${i}` }));
    const finalizers = ports.map(({ name }) => name);
    const directives = { "$setElementOrder/ports": ports.toReversed(), ports: ports.map((port) => ({ ...port, targetPort: 1 })) };
    const made = strategicPatch({ spec: { ports }, metadata: { finalizers } }, { spec: directives }, keys);
    strategicPatch(made, { metadata: { "$deleteFromPrimitiveList/finalizers": finalizers, $retainKeys: finalizers } }, keys);
  };
  expect(growthOf(work, { small: 2000, large: 16_000, enough: 24 })).toBeLessThan(24); // 8 times as much; 64 times it would be if it were quadratic
});

test("a patch that names one item many times takes time in proportion to its size", () => {
  const secondsOf = (times: number): number => {
    const large = Object.fromEntries(Array.from({ length: 30_000 }, (_, i) => [`k${i}`, 0]));
    const object = { spec: { ports: [{ port: 80, large, ...large }] } };
    const start = process.cpuUsage().user;
    strategicPatch(object, { spec: { ports: Array.from({ length: times }, (_, i) => ({ port: 80, large: { last: i } })) } }, keys);
    return (process.cpuUsage().user - start) / 1_000_000;
  };
  expect(secondsOf(50_000)).toBeLessThan(5); // minutes, if each copied the item
});

test("neither what an item replaces nor the patch is changed by what names the item again", () => {
  const patch = {
    spec: {
      ports: [
        { port: 80, appProtocol: { $patch: "replace", a: { b: 1 } } },
        { port: 80, appProtocol: { a: { c: 2 } } },
      ],
    },
  };
  const before = structuredClone(patch);
  expect(strategicPatch(current, patch, keys)).toEqual(spec({ ports: [{ ...http, appProtocol: { a: { b: 1, c: 2 } } }, dns] }));
  expect(patch).toEqual(before);
});
