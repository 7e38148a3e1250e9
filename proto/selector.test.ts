import { describe, expect, test } from "vitest";
import { matchesFields, matchesLabels, matchesSelector, parseFieldSelector, parseLabelSelector } from "./selector.ts";

const labels = { app: "web", tier: "front", "example.com/team": "a" };

describe("label selectors", () => {
  test.for<[string, boolean]>([
    ["", true],
    ["app=web", true],
    ["app==web,tier=front", true],
    ["app=db", false],
    ["constructor", false],
    ["!toString", true],
    ["app!=db", true],
    ["absent!=x", true],
    ["app in (web, db)", true],
    ["app notin (web,db)", false],
    ["absent notin (web)", true],
    ["tier", true],
    ["!tier", false],
    ["!service.kubernetes.io/headless", true],
    ["example.com/team=a,app in (web)", true],
  ])("%j selects: %s", ([text, wanted]) => {
    expect(matchesLabels(parseLabelSelector(text), labels)).toBe(wanted);
  });

  test.for(["=web", "app=we b", "app in web", "app in (web", "a b", "app=web,,", "app=$(reboot)", "-app"])("%j is refused", (text) => {
    expect(() => parseLabelSelector(text)).toThrow("unable to parse requirement");
  });
});

test("a Service's empty selector selects nothing", () => {
  expect(matchesSelector({}, labels)).toBe(false);
  expect(matchesSelector(undefined, labels)).toBe(false);
  expect(matchesSelector({ app: "web" }, labels)).toBe(true);
  expect(matchesSelector({ app: "web", tier: "back" }, labels)).toBe(false);
});

test("names that every object inherits are no labels and no fields", () => {
  for (const text of ["constructor", "toString", "hasOwnProperty in (x)"]) expect(matchesLabels(parseLabelSelector(text), {})).toBe(false);
  expect(matchesFields(parseFieldSelector("metadata.constructor.name=Object"), { metadata: {} })).toBe(false);
  expect(matchesLabels(parseLabelSelector("constructor=a"), { constructor: "a" })).toBe(true);
});

describe("field selectors", () => {
  const object = { metadata: { name: "web" }, spec: { clusterIP: "None" } };
  test.for<[string, boolean]>([
    ["", true],
    ["metadata.name=web", true],
    ["spec.clusterIP!=None", false],
    ["metadata.namespace=", true],
    ["metadata.name=web,spec.clusterIP==None", true],
    ["spec.constructor.name=Object", false],
  ])("%j selects: %s", ([text, wanted]) => {
    expect(matchesFields(parseFieldSelector(text), object)).toBe(wanted);
  });

  test("without an operator they are refused", () => {
    expect(() => parseFieldSelector("metadata.name")).toThrow("unable to parse field selector");
  });
});
