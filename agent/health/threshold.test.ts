import { expect, test } from "vitest";
import { judge, type Verdict } from "./threshold.ts";

const rows = [
  { name: "one good result makes it ready where rise is 1", from: false, rise: 1, fall: 3, results: "+", want: "+" },
  { name: "rise 2 needs two in a row", from: false, rise: 2, fall: 3, results: "+-+++", want: "---++" },
  {
    name: "fall 3 needs three in a row, and a good one in between starts the count anew",
    from: true,
    rise: 1,
    fall: 3,
    results: "--+---",
    want: "+++++-",
  },
  { name: "fall 1 goes at once and rise 1 comes back at once", from: true, rise: 1, fall: 1, results: "-+-+", want: "-+-+" },
];

test.for(rows)("$name", ({ from, rise, fall, results, want }) => {
  let verdict: Verdict = { ready: from, against: 0 };
  const seen = Array.from(results, (result) => {
    verdict = judge(verdict, result === "+", { rise, fall });
    return verdict.ready ? "+" : "-";
  });
  expect(seen.join("")).toBe(want);
});
