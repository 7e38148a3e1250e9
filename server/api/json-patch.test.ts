import { describe, expect, test } from "vitest";
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

describe("what a short patch can make large is bounded", () => {
  const operations = (count: number, operation: (i: number) => unknown): unknown[] => Array.from({ length: count }, (_, i) => operation(i));
  /** What it takes, beside work that is known to be of the size that the bounds allow. */
  const secondsOf = (patch: unknown, code?: string): number => {
    const start = process.cpuUsage().user;
    const patched = (): unknown => jsonPatch({ a: { x: "y" } }, patch);
    if (code === undefined) patched();
    else expect(patched).toThrow(expect.objectContaining({ code }));
    return (process.cpuUsage().user - start) / 1_000_000;
  };

  test("copies of a part into itself, each twice as large as the one before", () => {
    const doubling = operations(60, (i) => ({ op: "copy", from: "/a", path: `/a/k${i}` }));
    const heap = process.memoryUsage().heapUsed;
    expect(secondsOf(doubling, "Invalid")).toBeLessThan(2);
    expect(process.memoryUsage().heapUsed - heap).toBeLessThan(100_000_000);
  });

  test("a copy of a MiB is one too many, half of it is none", () => {
    const of = (bytes: number): unknown[] => [
      { op: "add", path: "/text", value: "x".repeat(bytes) },
      { op: "copy", from: "/text", path: "/again" },
    ];
    expect(jsonPatch({}, of(512 * 1024))).toHaveProperty("again");
    expect(() => jsonPatch({}, of(1024 * 1024))).toThrow(
      expect.objectContaining({ code: "Invalid", hint: expect.stringContaining("operation 1 ") as string }),
    );
  });

  test("operations on an object of many fields", () => {
    const many = Object.fromEntries(operations(100_000, (i) => [`k${i}`, 0]) as [string, number][]);
    expect(
      secondsOf([{ op: "add", path: "/many", value: many }, ...operations(9_999, () => ({ op: "replace", path: "/many/k1", value: 0 }))]),
    ).toBeLessThan(5);
  });

  test("items of a long list moved along", () => {
    const list = operations(500_000, () => 0);
    const patch = [{ op: "add", path: "/list", value: list }, ...operations(9_999, () => ({ op: "add", path: "/list/0", value: 0 }))];
    expect(secondsOf(patch, "RequestEntityTooLarge")).toBeLessThan(5);
  });

  test("10,000 operations at the head of a list are done", () => {
    const list = operations(1000, () => 0);
    const patch = [{ op: "add", path: "/list", value: list }, ...operations(9_999, () => ({ op: "add", path: "/list/0", value: 1 }))];
    expect(jsonPatch({}, patch)).toHaveProperty("list.length", 10_999);
  });

  test("operations", () => {
    expect(() =>
      jsonPatch(
        {},
        operations(10_001, () => ({ op: "test", path: "", value: {} })),
      ),
    ).toThrow("Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001");
  });

  test("nesting, whether by paths, copies or moves", () => {
    const deepPath = `/a${"/a".repeat(200)}`;
    expect(() => jsonPatch({ a: {} }, [{ op: "add", path: deepPath, value: 1 }])).toThrow(expect.objectContaining({ code: "Invalid" }));
    const chain = (depth: number): unknown => (depth === 0 ? {} : { a: chain(depth - 1) });
    const under = (op: string): unknown[] => [
      { op: "add", path: "/one", value: chain(60) },
      { op: "add", path: "/two", value: chain(60) },
      { op, from: "/one", path: `/two${"/a".repeat(59)}/a/b` },
    ];
    for (const op of ["copy", "move"])
      expect(() => jsonPatch({}, under(op)), op).toThrow(
        expect.objectContaining({ code: "BadRequest", message: expect.stringContaining("deeper than 100 levels") as string }),
      );
  });
});

test("what was copied, added or moved is not changed with its other place", () => {
  const value = { x: 1 };
  const patch = [
    { op: "add", path: "/b", value },
    { op: "copy", from: "/b", path: "/c" },
    { op: "replace", path: "/b/x", value: 2 },
  ];
  expect(jsonPatch({}, patch)).toEqual({ b: { x: 2 }, c: { x: 1 } });
  expect(value).toEqual({ x: 1 });
});
