import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { fault, invalid } from "#proto/parse.ts";
import { renderError } from "./error.ts";

const twoFaults = invalid("Service", "web", [
  fault("spec.ports[0].port", "must be between 1 and 65535, inclusive", { value: 0 }),
  fault("spec.type", "is needed", { reason: "FieldValueRequired" }),
]);

test("each faulty field has a line of its own, and is named once", () => {
  expect(renderError(twoFaults)).toBe(
    'error: Service "web" is invalid\n' +
      "  spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive\n" +
      "  spec.type: Required value: is needed\n",
  );
});

test("a fault in a file is named with file and line", () => {
  const text = renderError(twoFaults, { label: "web.yaml, document 2", lineOf: (field) => (field === "spec.type" ? 9 : undefined) });
  expect(text).toContain('error: web.yaml, document 2: Service "web" is invalid\n');
  expect(text).toContain("is needed (line 9)\n");
});

test("a hint follows, and nothing of a message reaches the terminal raw", () => {
  expect(renderError(new AppError("NotFound", "no \x1b[31mweb", { hint: "make it" }))).toBe("error: no \\u001b[31mweb\nhint: make it\n");
});

test("an error that is not ours is told with its causes", () => {
  expect(renderError(new Error("cannot read", { cause: new Error("disk full") }))).toBe("error: cannot read: disk full\n");
});
