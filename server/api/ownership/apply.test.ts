import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { kinds } from "#proto/kinds.ts";
import type { JsonObject } from "#server/api/json-body.ts";
import { growthOf } from "#test/cpu-time.ts";
import { applied, type Applied } from "./apply.ts";
import { conflictError } from "./conflict.ts";
import { isEmpty, isSame, minus, pathsOf, union, type FieldSet } from "./field-set.ts";
import { fieldsOf } from "./compare.ts";
import { ownablePart, type Scope } from "./ownable.ts";
import { readOwners, writtenOwners, type Owner } from "./owners.ts";
import { rootOf } from "./parts.ts";
import { ownersAfterUpdate } from "./update.ts";

const scope: Scope = { facts: kinds.Service, subresource: undefined };
const NOTHING: Applied = { object: { metadata: { name: "web" } }, owners: [] };
let clock = 0;

function apply(state: Applied, manager: string, config: object, force = false): Applied | string {
  const result = applied({
    owners: state.owners,
    writer: { manager, operation: "Apply", apiVersion: "v1" },
    scope,
    live: state.object,
    config: { metadata: { name: "web" }, ...config },
    force,
    time: String(++clock).padStart(6, "0"),
  });
  return "conflicts" in result ? conflictError(result.conflicts).message : result;
}

function mustApply(state: Applied, manager: string, config: object, force = false): Applied {
  const result = apply(state, manager, config, force);
  if (typeof result === "string") throw new Error(result);
  return result;
}

function update(state: Applied, manager: string, written: JsonObject): Applied {
  const owners = ownersAfterUpdate({
    owners: state.owners,
    writer: { manager, operation: "Update", apiVersion: "v1" },
    scope,
    before: state.object,
    written,
    stands: written,
    time: String(++clock).padStart(6, "0"),
  });
  return { object: written, owners };
}

const fieldsBy = (state: Applied, manager: string): string[] =>
  state.owners.filter((owner) => owner.manager === manager).flatMap(({ fields }) => [...pathsOf(fields)]);

describe("server-side apply", () => {
  const http = { name: "http", port: 80, targetPort: 8080 };
  const dns = { name: "dns", port: 53, protocol: "UDP" };
  const first = mustApply(NOTHING, "a", { spec: { selector: { app: "web" }, ports: [http, dns] } });

  test("the manager has what it says: items with their keys, defaults of keys among them, and a selector as a whole", () => {
    expect(fieldsBy(first, "a").toSorted()).toEqual(
      [
        ".spec.selector",
        ...['[port=80,protocol="TCP"]', '[port=53,protocol="UDP"]'].flatMap((item) => [
          `.spec.ports${item}`,
          `.spec.ports${item}.name`,
          `.spec.ports${item}.port`,
        ]),
        '.spec.ports[port=80,protocol="TCP"].targetPort',
        '.spec.ports[port=53,protocol="UDP"].protocol',
      ].toSorted(),
    );
  });

  test("another value of somebody else's field is a conflict in Kubernetes' words; the same value is shared", () => {
    expect(apply(first, "b", { spec: { ports: [{ port: 80, name: "web" }] } })).toBe(
      'Apply failed with 1 conflict: conflict with "a": .spec.ports[port=80,protocol="TCP"].name',
    );
    const edited = update(first, "kubectl-edit", {
      ...first.object,
      spec: { selector: { app: "x" }, ports: [{ ...http, targetPort: 1 }, dns] },
    });
    expect(apply(edited, "b", { spec: { selector: { app: "y" }, ports: [{ port: 80, targetPort: 2, name: "web" }] } })).toBe(
      'Apply failed with 3 conflicts: conflicts with "a":\n- .spec.ports[port=80,protocol="TCP"].name\n' +
        'conflicts with "kubectl-edit" using v1:\n- .spec.ports[port=80,protocol="TCP"].targetPort\n- .spec.selector',
    );
    const shared = mustApply(first, "b", { spec: { ports: [{ port: 80, name: "http" }] } });
    expect(shared.object).toEqual(first.object);
    expect(fieldsBy(shared, "a")).toContain('.spec.ports[port=80,protocol="TCP"].name');
    expect(fieldsBy(shared, "b")).toContain('.spec.ports[port=80,protocol="TCP"].name');
  });

  test("force takes the field over, and then the other one has a conflict", () => {
    const forced = mustApply(first, "b", { spec: { ports: [{ port: 80, name: "web" }] } }, true);
    expect(fieldsBy(forced, "a")).not.toContain('.spec.ports[port=80,protocol="TCP"].name');
    expect(apply(forced, "a", { spec: { selector: { app: "web" }, ports: [http, dns] } })).toMatch(
      /^Apply failed with 1 conflict: conflict with "b"/,
    );
  });

  test("what is no longer applied goes, unless somebody else has it", () => {
    const labelled = mustApply(first, "b", {
      metadata: { name: "web", labels: { x: "1", y: "2" } },
      spec: { ports: [{ port: 53, protocol: "UDP" }] },
    });
    const less = mustApply(labelled, "a", { spec: { ports: [http] } });
    expect(less.object["spec"]).toEqual({ ports: [http, { port: 53, protocol: "UDP" }] });
    const none = mustApply(less, "b", { metadata: { name: "web", labels: { y: "2" } } });
    expect(none.object).toEqual({ metadata: { name: "web", labels: { y: "2" } }, spec: { ports: [http] } });
    expect(mustApply(none, "b", {}).object["metadata"]).toEqual({ name: "web" });
  });

  test("an item goes with what the server filled in, and stays with its key where somebody edited it", () => {
    const filled = {
      ...first,
      object: { ...first.object, spec: { selector: { app: "web" }, ports: [{ ...http, nodePort: 30_000 }, dns] } },
    };
    expect(mustApply(filled, "a", { spec: { ports: [dns] } }).object["spec"]).toEqual({ ports: [dns] });
    const edited = update(first, "kubectl-edit", {
      ...first.object,
      spec: { selector: { app: "web" }, ports: [{ ...http, targetPort: 9 }, dns] },
    });
    expect(mustApply(edited, "a", { spec: { ports: [dns] } }).object["spec"]).toEqual({ ports: [{ port: 80, targetPort: 9 }, dns] });
  });

  test("kubectl takes over from its own client-side apply without a conflict, but not from others", () => {
    const note = "kubectl.kubernetes.io/last-applied-configuration";
    const config = { metadata: { name: "web", annotations: {} }, spec: { ports: [http], sessionAffinity: "None" } };
    const made = { metadata: { name: "web", annotations: { [note]: JSON.stringify(config) } }, spec: config.spec };
    const before = update(NOTHING, "kubectl-client-side-apply", made);
    const changed = { spec: { ports: [{ ...http, targetPort: 81 }] } };
    expect(apply(before, "terraform", changed)).toMatch(/conflict with "kubectl-client-side-apply" using v1/);
    const over = mustApply(before, "kubectl", changed);
    expect(over.object["spec"]).toEqual({ ports: [{ ...http, targetPort: 81 }], sessionAffinity: "None" });
    expect(JSON.stringify(over.object["metadata"])).toContain(String.raw`\"targetPort\":81`);
    const edited = update(before, "kubectl-edit", { ...made, spec: { ...made.spec, sessionAffinity: "ClientIP" } });
    expect(apply(edited, "kubectl", { spec: { sessionAffinity: "None" } })).toMatch(/conflict with "kubectl-edit"/);
  });

  test("lists whose items cannot be told apart are refused", () => {
    expect(() => apply(NOTHING, "a", { spec: { ports: [{ name: "x" }] } })).toThrow(
      '.spec.ports: element 0: associative list with keys has an element that omits key field "port"',
    );
    expect(() => apply(NOTHING, "a", { spec: { ports: [{ port: 1 }, { port: 1, protocol: "TCP" }] } })).toThrow(
      '.spec.ports: duplicate entries for key {"port":1,"protocol":"TCP"}',
    );
  });

  test("of more than ten who update, the oldest become one, and no field is lost", () => {
    let state = first;
    const all = (owners: readonly Owner[]): FieldSet =>
      owners.reduce<FieldSet>((sum, { fields }) => union(sum, fields), { own: false, below: new Map() });
    for (let i = 0; i < 20; i++) {
      const { metadata } = state.object;
      const labels = { ...(metadata as { labels?: object }).labels, [`l${i}`]: "x" };
      state = update(state, `m${i}`, { ...state.object, metadata: { name: "web", labels } });
    }
    const kept = readOwners(writtenOwners(state.owners));
    expect(kept.filter(({ operation }) => operation === "Update").map(({ manager }) => manager)).toEqual([
      "ancient-changes",
      ...Array.from({ length: 9 }, (_, i) => `m${i + 11}`),
    ]);
    expect(isEmpty(minus(all(state.owners), all(kept)))).toBe(true);
  });
});

const port = fc.record(
  {
    port: fc.constantFrom(1, 2, 3),
    protocol: fc.constantFrom("TCP", "UDP"),
    name: fc.constantFrom("a", "b"),
    targetPort: fc.constantFrom(7, 8),
  },
  { requiredKeys: ["port"] },
);
const LETTERS = ["p", "q", "r"];
const someConfig = (letters: readonly string[]) =>
  fc.record(
    {
      metadata: fc.record(
        {
          name: fc.constant("web"),
          labels: fc.dictionary(fc.constantFrom(...letters), fc.constantFrom("1", "2")),
          finalizers: fc.uniqueArray(fc.constantFrom(...letters.map((letter) => `${letter}/f`))),
        },
        { requiredKeys: ["name"] },
      ),
      spec: fc.record(
        {
          ports: fc.uniqueArray(port, { selector: ({ port: number, protocol = "TCP" }) => `${number}/${protocol}` }),
          selector: fc.dictionary(fc.constantFrom("x", "y"), fc.constantFrom("1", "2")),
          sessionAffinityConfig: fc.record({ clientIP: fc.record({ timeoutSeconds: fc.constantFrom(1, 2) }) }),
          externalIPs: fc.array(fc.constantFrom("a", "b")),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: [] },
  );
const history = fc.array(
  fc.record({
    manager: fc.constantFrom("a", "b", "c"),
    config: someConfig(LETTERS),
    force: fc.boolean(),
    how: fc.constantFrom("apply", "update"),
  }),
  { maxLength: 8 },
);
type Step = { manager: string; config: object; force: boolean; how: string };
const after = (steps: readonly Step[]): Applied =>
  steps.reduce<Applied>((state, { manager, config, force, how }) => {
    if (how === "update")
      return update(state, manager, {
        ...state.object,
        ...config,
        metadata: { name: "web", ...((config as JsonObject)["metadata"] as object) },
      });
    const next = apply(state, manager, config, force);
    return typeof next === "string" ? state : next;
  }, NOTHING);

test("applying twice is applying once, whatever was before", () => {
  fc.assert(
    fc.property(history, someConfig(LETTERS), (steps, config) => {
      const once = mustApply(after(steps), "a", config, true);
      const twice = mustApply(once, "a", config);
      expect(twice.object).toEqual(once.object);
      expect(writtenOwners(twice.owners)).toEqual(writtenOwners(once.owners));
    }),
  );
});

test("two managers of different fields never meet: in any order there is no conflict, and the object has what each said last", () => {
  const metadataOf = (config: object): object => ({ ...("metadata" in config && { metadata: config.metadata }) });
  const specOf = (config: object): object => ({ ...("spec" in config && { spec: config.spec }) });
  const ofA = someConfig(LETTERS).map((config) => ({ manager: "a", config: metadataOf(config) }));
  const ofB = someConfig(LETTERS).map((config) => ({ manager: "b", config: specOf(config) }));
  fc.assert(
    fc.property(fc.array(fc.oneof(ofA, ofB)), (steps) => {
      const { object } = steps.reduce((state, { manager, config }) => mustApply(state, manager, config), NOTHING);
      const lastOf = (manager: string): Applied => {
        const last = steps.findLast((step) => step.manager === manager);
        return last ? mustApply(NOTHING, manager, last.config) : NOTHING;
      };
      expect(withProtocols(metadataOf(object))).toEqual(withProtocols(metadataOf(lastOf("a").object)));
      expect(withProtocols(specOf(object))).toEqual(withProtocols(specOf(lastOf("b").object)));
    }),
  );
});

/** An item keeps its key, also where it is the default, and nobody says it any more. */
function withProtocols(object: object): unknown {
  const fill = (key: string, value: unknown): unknown =>
    key === "ports" ? (value as object[]).map((one) => ({ protocol: "TCP", ...one })) : value;
  return JSON.parse(JSON.stringify(object, fill));
}

test("there is a conflict just where a value differs and somebody else has it; refused changes nothing and forced none remains", () => {
  fc.assert(
    fc.property(history, someConfig(LETTERS), (steps, config) => {
      const state = after(steps);
      const result = apply(state, "a", config);
      const forced = mustApply(state, "a", config, true);
      const lost = state.owners
        .filter(({ manager, operation }) => manager !== "a" || operation !== "Apply")
        .some((owner) => {
          const now = forced.owners.find((one) => one.manager === owner.manager && one.operation === owner.operation);
          return !now || !isSame(now.fields, owner.fields);
        });
      expect(typeof result === "string").toBe(lost);
      if (typeof result !== "string") expect(result.object).toEqual(forced.object);
    }),
  );
});

test("what a manager no longer applies goes only if it alone had it; all else stands as it stood", () => {
  fc.assert(
    fc.property(history, (steps) => {
      const state = after(steps);
      const others = state.owners.filter(({ manager, operation }) => manager !== "a" || operation !== "Apply");
      const left = mustApply(state, "a", {});
      const stands = fieldsOf(ownablePart(left.object, scope), rootOf(kinds.Service.merging), "said");
      const stood = fieldsOf(ownablePart(state.object, scope), rootOf(kinds.Service.merging), "said");
      const mine = state.owners.find(({ manager, operation }) => manager === "a" && operation === "Apply")?.fields ?? {
        own: false,
        below: new Map(),
      };
      // Nobody else lost anything that stood.
      for (const { fields } of others)
        expect([...pathsOf(minus(minus(fields, minus(fields, stood)), stands))].filter((path) => !isAround(path, stands))).toEqual([]);
      // What went was mine, or below what was mine.
      for (const path of pathsOf(minus(stood, stands)))
        expect(
          [...pathsOf(mine)].some((own) => path.startsWith(own)),
          path,
        ).toBe(true);
    }),
  );
});

/** Whether something below a path still stands. */
function isAround(path: string, stands: FieldSet): boolean {
  return [...pathsOf(stands)].some((one) => one.startsWith(path));
}

test("ownership survives being written down and read", () => {
  fc.assert(
    fc.property(history, (steps) => {
      const { owners } = after(steps);
      const written = writtenOwners(owners);
      expect(writtenOwners(readOwners(JSON.parse(JSON.stringify(written))))).toEqual(written);
    }),
  );
});

test("large and hostile objects take time in proportion to their size", () => {
  const work = (count: number): void => {
    const ports = Array.from({ length: count }, (_, i) => ({ port: i, name: `p${i}` }));
    const labels = Object.fromEntries(Array.from({ length: count }, (_, i) => [`l${i}`, "x"]));
    const once = mustApply(NOTHING, "a", { metadata: { name: "web", labels }, spec: { ports } });
    mustApply(once, "b", { spec: { ports: ports.toReversed() } });
    mustApply(once, "a", {});
    const owners = writtenOwners(once.owners);
    readOwners(owners);
  };
  expect(growthOf(work, { small: 1000, large: 8000, enough: 24 })).toBeLessThan(24); // 8 times as much; 64 times it would be if it were quadratic
});
