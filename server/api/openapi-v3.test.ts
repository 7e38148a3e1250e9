import { expect, test } from "vitest";
import { apiVersionOf } from "#proto/kinds.ts";
import { documentedKinds, kubeSchemaOf } from "./openapi-v3.ts";

type Json = Readonly<Record<string, unknown>>;

/** Every field below, with its schema: of objects, of the items of lists, and of each form that a value may have. */
function* fieldsOf(schema: Json, path: string): Generator<readonly [path: string, field: Json], void, undefined> {
  for (const [name, field] of Object.entries(objectAt(schema, "properties"))) {
    const at = `${path}.${name}`;
    yield [at, field as Json];
    yield* fieldsOf(field as Json, at);
  }
  for (const key of ["items", "additionalProperties"]) if (key in schema) yield* fieldsOf(objectAt(schema, key), path);
  for (const key of ["anyOf", "oneOf", "allOf"]) for (const one of (schema[key] ?? []) as Json[]) yield* fieldsOf(one, path);
}

function objectAt(schema: Json, key: string): Json {
  const inner = schema[key];
  return typeof inner === "object" && inner !== null ? (inner as Json) : {};
}

test.for(documentedKinds.map((facts) => [`${apiVersionOf(facts)} ${facts.kind}`, facts] as const))(
  "every field of a %s is explained, in a sentence or three",
  ([, facts]) => {
    const schema = kubeSchemaOf(facts);
    const fields = [[facts.kind, schema] as const, ...fieldsOf(schema, facts.kind)];
    const bad = fields.filter(([, { description }]) => typeof description !== "string" || !/^[A-Z].{3,280}\.$/s.test(description));
    expect(bad.map(([path, { description }]) => [path, description])).toEqual([]);
    expect(fields.length).toBeGreaterThan(20);
  },
);

test("a field says its default where it has one", () => {
  for (const facts of documentedKinds)
    for (const [path, field] of fieldsOf(kubeSchemaOf(facts), facts.kind)) {
      const { default: value, description } = field;
      if ((typeof value !== "string" && typeof value !== "number") || value === "") continue;
      expect(description, path).toContain(`Default: ${value}`);
    }
});

test("lists say how they are merged", () => {
  const marks = new Map<string, unknown>();
  for (const facts of documentedKinds)
    for (const [path, field] of fieldsOf(kubeSchemaOf(facts), facts.kind)) {
      const own = Object.entries(field).filter(([key]) => key.startsWith("x-kubernetes-"));
      if (own.length > 0) marks.set(path, Object.fromEntries(own.map(([key, value]) => [key.slice("x-kubernetes-".length), value])));
    }
  const ports = { "patch-strategy": "merge", "patch-merge-key": "port", "list-type": "map", "list-map-keys": ["port", "protocol"] };
  expect(marks.get("Service.spec.ports")).toEqual(ports);
  expect(marks.get("Workload.spec.ports")).toEqual(ports);
  expect(marks.get("Service.spec.selector")).toEqual({ "map-type": "atomic" });
  expect(marks.get("Node.metadata.finalizers")).toEqual({ "patch-strategy": "merge", "list-type": "set" });
  expect(marks.get("Node.status.addresses")).toEqual({ "patch-strategy": "merge", "patch-merge-key": "type", "list-type": "atomic" });
  // Every rule of the table has found its field.
  for (const { kind, merging } of documentedKinds)
    for (const path of Object.keys(merging)) expect([...marks.keys()]).toContain(`${kind}.${path}`);
});
