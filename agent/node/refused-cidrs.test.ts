import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { withoutRefused } from "./refused-cidrs.ts";

const invalid = (...fields: string[]) =>
  new AppError("Invalid", "no", { causes: fields.map((field) => ({ field, reason: "FieldValueInvalid", message: "overlaps" })) });

test("a prefix that is behind another host is left out, the others stay", () => {
  expect(withoutRefused(["172.17.0.0/16", "10.200.1.0/24"], invalid("spec.podCIDRs[0]"))).toEqual(["10.200.1.0/24"]);
});

test.for([invalid("spec.podCIDRs[0]", "status.addresses[0].address"), invalid("spec.podCIDRs[7]"), invalid(), new Error("x")])(
  "what else is refused stays an error: %s",
  (error) => {
    expect(withoutRefused(["172.17.0.0/16"], error)).toBeUndefined();
  },
);
