import { expect, test } from "vitest";
import { LOCAL_CHECKS_ANNOTATION } from "#proto/workload.ts";
import { parseWorkloadFile } from "./manifest.ts";
import { sourceOf } from "./mark.ts";

const at = { file: "web.yaml", nodeName: "vm-1" };
const aFile = (spec: string, name = "web-1") => `apiVersion: fairlead.dev/v1\nkind: Workload\nmetadata: { name: ${name} }\nspec: ${spec}\n`;

test("namespace and node may be left out", () => {
  const [one] = parseWorkloadFile(aFile("{ ports: [{ port: 80 }] }"), at);
  expect(one?.key).toBe("default/web-1");
  expect(one?.workload.spec.node).toBe("vm-1");
});

test("exec checks stay here, and the server is told only that there are some", () => {
  const [one] = parseWorkloadFile(
    aFile("{ ports: [{ port: 80 }], checks: [{ exec: { command: [true] } }, { tcp: { port: 80 } }] }").replace("[true]", '["true"]'),
    at,
  );
  expect(one?.localChecks).toHaveLength(1);
  expect(one?.workload.spec.checks.map((check) => Object.keys(check).includes("tcp"))).toEqual([true]);
  expect(one?.workload.metadata.annotations?.[LOCAL_CHECKS_ANNOTATION]).toBe("1");
});

test("the mark says the file, and changes with what the file says", () => {
  const [one] = parseWorkloadFile(aFile("{}"), at);
  const [same] = parseWorkloadFile(`# a comment\n${aFile("{}")}`, at);
  const [other] = parseWorkloadFile(aFile("{ weight: 2 }"), at);
  if (!one || !same || !other) throw new Error("no workload");
  expect(sourceOf(one.workload)?.source).toBe("web.yaml");
  expect(sourceOf(same.workload)).toEqual(sourceOf(one.workload));
  expect(sourceOf(other.workload)).not.toEqual(sourceOf(one.workload));
});

test("a file may hold several documents, and empty ones", () => {
  expect(parseWorkloadFile(`---\n${aFile("{}")}---\n---\n${aFile("{}", "web-2")}`, at)).toHaveLength(2);
  expect(parseWorkloadFile("", at)).toEqual([]);
});

test.for([
  { name: "another node", text: aFile("{ node: vm-2 }"), says: "is for the node vm-2" },
  { name: "a ttl", text: aFile("{ ttl: 5s }"), says: "nobody would renew it" },
  { name: "the same workload twice", text: `${aFile("{}")}---\n${aFile("{}")}`, says: "stands there twice" },
  { name: "no YAML", text: "a: [", says: "web.yaml" },
  { name: "another kind", text: "apiVersion: v1\nkind: Service\nmetadata: { name: a }\n", says: "kind" },
  { name: "a misspelt field", text: aFile("{ weigth: 2 }"), says: "spec.weigth" },
  { name: "no object", text: "- 1\n", says: "invalid" },
  {
    name: "a bomb of aliases",
    text: `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n`,
    says: "too many aliases",
  },
])("$name is refused with its reason", ({ text, says }) => {
  expect(() => parseWorkloadFile(text, at)).toThrow(says);
});
