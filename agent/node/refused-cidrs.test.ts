import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { ROUTED_CIDRS_ANNOTATION } from "#proto/node.ts";
import { refusedCidrs, withoutRefused } from "./refused-cidrs.ts";

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

test("each refused prefix is told with the server's words, whichever list it stands in", () => {
  const causes = [
    {
      field: "spec.podCIDRs[1]",
      reason: "FieldValueInvalid",
      message: 'Invalid value: "172.17.0.0/16": overlaps 172.17.0.0/16 of the host h1',
    },
    {
      field: `metadata.annotations[${ROUTED_CIDRS_ANNOTATION}][0]`,
      reason: "FieldValueInvalid",
      message: 'Invalid value: "8.8.8.0/24": is not private',
    },
  ] as const;
  const lists = { podCIDRs: ["10.1.0.0/24", "172.17.0.0/16"], routed: ["8.8.8.0/24"] };
  expect(refusedCidrs(lists, new AppError("Invalid", "no", { causes }))).toEqual(
    new Map([
      ["172.17.0.0/16", "overlaps 172.17.0.0/16 of the host h1"],
      ["8.8.8.0/24", "is not private"],
    ]),
  );
});
