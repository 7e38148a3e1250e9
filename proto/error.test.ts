import { expect, test } from "vitest";
import { z } from "zod";
import { AppError, describeError } from "./error.ts";

const enoent = new Error("ENOENT: no such file, open 'x'");

test.for<[string, unknown, string]>([
  ["no error", "text", "text"],
  ["nothing", undefined, "undefined"],
  ["a cause", new Error("cannot read x", { cause: enoent }), "cannot read x: ENOENT: no such file, open 'x'"],
  ["a cause that the message has", new AppError("Usage", `cannot: ${enoent.message}`, { cause: enoent }), `cannot: ${enoent.message}`],
  ["a cause that is the same", new Error(enoent.message, { cause: enoent }), enoent.message],
  [
    "a cause that the message has, with a cause of its own",
    new Error("a: b", { cause: new Error("b", { cause: new Error("c") }) }),
    "a: b: c",
  ],
  ["several at once", new AggregateError([new Error("refused"), new Error("refused"), new Error("no route")]), "refused, no route"],
  ["no message", new Error("", { cause: enoent }), enoent.message],
  ["no message at all", new Error(""), "Error"],
])("what is said of %s says nothing twice", ([, error, want]) => {
  expect(describeError(error)).toBe(want);
});

test("faults that a schema found are said field by field, not as a dump of JSON", () => {
  const { error } = z.object({ users: z.array(z.string().max(2, "must be short")) }).safeParse({ users: ["abc", "d", "efg"] });
  expect(describeError(new Error("x is damaged", { cause: error }))).toBe("x is damaged: users.0: must be short; users.2: must be short");
});

test("errors that are each other's cause come to an end", () => {
  const [one, other] = [new Error("one"), new Error("other")];
  one.cause = other;
  other.cause = one;
  expect(describeError(one)).toBe("one: other");
});
