import { expect, test } from "vitest";
import { jsonPatch } from "./json-patch.ts";

// RFC 6902, appendix A.
test.for<[name: string, target: unknown, patch: unknown, wanted: unknown]>([
  ["add a member", { foo: "bar" }, [{ op: "add", path: "/baz", value: "qux" }], { baz: "qux", foo: "bar" }],
  ["add an element", { foo: ["bar", "baz"] }, [{ op: "add", path: "/foo/1", value: "qux" }], { foo: ["bar", "qux", "baz"] }],
  ["remove a member", { baz: "qux", foo: "bar" }, [{ op: "remove", path: "/baz" }], { foo: "bar" }],
  ["remove an element", { foo: ["bar", "qux", "baz"] }, [{ op: "remove", path: "/foo/1" }], { foo: ["bar", "baz"] }],
  ["replace a value", { baz: "qux", foo: "bar" }, [{ op: "replace", path: "/baz", value: "boo" }], { baz: "boo", foo: "bar" }],
  [
    "move a value",
    { foo: { waldo: "fred" }, qux: {} },
    [{ op: "move", from: "/foo/waldo", path: "/qux/thud" }],
    { foo: {}, qux: { thud: "fred" } },
  ],
  [
    "move an element",
    { foo: ["all", "grass", "cows", "eat"] },
    [{ op: "move", from: "/foo/1", path: "/foo/3" }],
    { foo: ["all", "cows", "eat", "grass"] },
  ],
  ["copy a value", { a: { b: 1 } }, [{ op: "copy", from: "/a", path: "/c" }], { a: { b: 1 }, c: { b: 1 } }],
  ["test a value", { baz: "qux" }, [{ op: "test", path: "/baz", value: "qux" }], { baz: "qux" }],
  ["add to the end", { foo: ["bar"] }, [{ op: "add", path: "/foo/-", value: ["abc"] }], { foo: ["bar", ["abc"]] }],
  [
    "escaped names",
    { "/": 9, "~1": 10 },
    [
      { op: "test", path: "/~01", value: 10 },
      { op: "replace", path: "/~1", value: 1 },
    ],
    { "/": 1, "~1": 10 },
  ],
  ["replace the whole", { a: 1 }, [{ op: "replace", path: "", value: { b: 2 } }], { b: 2 }],
])("%s", ([, target, patch, wanted]) => {
  const before = structuredClone(target);
  expect(jsonPatch(target, patch)).toEqual(wanted);
  expect(target).toEqual(before);
});

test.for<[name: string, patch: unknown]>([
  ["a path that is not there", [{ op: "replace", path: "/x", value: 1 }]],
  ["a parent that is not there", [{ op: "add", path: "/x/y", value: 1 }]],
  ["an index out of range", [{ op: "add", path: "/list/9", value: 1 }]],
  ["an index with a leading zero", [{ op: "remove", path: "/list/01" }]],
  ["a test that fails", [{ op: "test", path: "/a", value: 2 }]],
  ["an unknown operation", [{ op: "merge", path: "/a", value: 2 }]],
  ["an operation without a value", [{ op: "add", path: "/a" }]],
  ["a pointer without a slash", [{ op: "remove", path: "a" }]],
  ["a prototype", [{ op: "add", path: "/__proto__/x", value: 1 }]],
  ["a member of the prototype", [{ op: "replace", path: "/constructor/name", value: 1 }]],
  ["text", ["remove everything"]],
])("%s is refused, with the operation's number", ([, patch]) => {
  expect(() => jsonPatch({ a: 1, list: [1] }, patch)).toThrow(
    expect.objectContaining({ code: "Invalid", hint: expect.stringMatching(/^operation 0 of the JSON patch/) as string }),
  );
});
