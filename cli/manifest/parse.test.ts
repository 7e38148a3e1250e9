import { expect, test } from "vitest";
import { cpuMs } from "#test/cpu-time.ts";
import { parseManifests, type Fault, type Manifest } from "./parse.ts";

const manifestsOf = (text: string): Manifest[] =>
  parseManifests("web.yaml", text).flatMap((one) => ("manifest" in one ? [one.manifest] : []));
const faultsOf = (text: string): Fault[] => parseManifests("web.yaml", text).flatMap((one) => ("fault" in one ? [one.fault] : []));

const service = (name: string): string => `apiVersion: v1\nkind: Service\nmetadata: { name: ${name} }\nspec: { ports: [{ port: 80 }] }\n`;

test("several documents and the items of Lists are objects each, with their place", () => {
  const list = `---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: c}}\n`;
  const found = manifestsOf(`${service("a")}---\n${service("b")}${list}`);
  expect(found.map(({ kind, name, place }) => [kind, name, place.label])).toEqual([
    ["Service", "a", "web.yaml, document 1"],
    ["Service", "b", "web.yaml, document 2"],
    ["Namespace", "c", "web.yaml, document 4, item 1"],
  ]);
});

test("JSON is read as well, and a single document needs no number", () => {
  const [found] = manifestsOf('{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","namespace":"shop"}}');
  expect(found).toMatchObject({ kind: "Service", name: "a", namespace: "shop", place: { label: "web.yaml" } });
});

test("what tools write as null counts as absent", () => {
  const [found] = manifestsOf(
    "apiVersion: v1\nkind: Service\nmetadata: { name: a, creationTimestamp: null }\nspec: { ports: [{ port: 80, name: null }] }",
  );
  expect(found?.value).toEqual({ apiVersion: "v1", kind: "Service", metadata: { name: "a" }, spec: { ports: [{ port: 80 }] } });
});

test("a field is found at its line, a missing one at the nearest that is there", () => {
  const [, found] = manifestsOf(
    `${service("a")}---\napiVersion: v1\nkind: Service\nmetadata:\n  name: b\n  labels:\n    a.b/c: x\nspec:\n  ports:\n    - port: 0\n`,
  );
  const lineOf = (field: string): number | undefined => found?.place.lineOf(field);
  expect(lineOf("spec.ports[0].port")).toBe(14);
  expect(lineOf("spec.ports[0].name")).toBe(14);
  expect(lineOf("metadata.labels[a.b/c]")).toBe(11);
  expect(lineOf("status.x")).toBeUndefined();
});

test.for([
  {
    name: "a key that stands twice is refused with its line",
    text: `${service("a")}spec: {}\n`,
    says: /line 5, column 1: Map keys must be unique/,
  },
  {
    name: "an unknown kind is named with what is known",
    text: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}",
    says: /unknown kind Deployment/,
  },
  {
    name: "a known kind of another version is told its own",
    text: "apiVersion: v2\nkind: Service\nmetadata: {name: a}",
    says: /Service of apiVersion v2/,
  },
  { name: "a manifest without kind is refused", text: "apiVersion: v1\nmetadata: {name: a}", says: /does not say what it is/ },
  { name: "a manifest without name is refused", text: "apiVersion: v1\nkind: Service", says: /Service without a name/ },
  {
    name: "a name that is a number is refused",
    text: "apiVersion: v1\nkind: Service\nmetadata: {name: 7}",
    says: /Service without a name/,
  },
  { name: "a text that is no object is refused", text: "hello", says: /is not an object/ },
  { name: "broken YAML is refused with its line", text: "a: [1\nb: 2\n", says: /line 2/ },
  { name: "nesting beyond measure is refused", text: "[".repeat(200_000), says: /./ },
])("$name", ({ text, says }) => {
  const faults = faultsOf(text);
  expect(faults).toHaveLength(1);
  expect(faults[0]?.error).toMatchObject({ code: "Invalid" });
  expect(faults[0]?.error.message).toMatch(says);
});

test("a bomb of anchors is refused at once", () => {
  const bomb = [
    "a0: &a0 [x,x,x,x,x,x,x,x,x]",
    ...Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(",")}]`),
  ];
  expect(cpuMs(() => expect(faultsOf(bomb.join("\n"))[0]?.error.message).toMatch(/cannot be expanded/))).toBeLessThan(2000);
});

test("a faulty document does not hide its neighbours", () => {
  const text = `${service("a")}---\nkind: Nope\napiVersion: v1\n---\n${service("b")}`;
  expect(manifestsOf(text).map(({ name }) => name)).toEqual(["a", "b"]);
  expect(faultsOf(text)[0]?.place.label).toBe("web.yaml, document 2");
});
