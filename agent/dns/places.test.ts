import { expect, test } from "vitest";
import { placesToListen } from "./places.ts";

const fixed = [
  { address: "10.96.0.10", port: 53 },
  { address: "127.0.0.153", port: 53 },
];
test.for([
  ["nothing", [], fixed],
  ["another address", [{ address: "172.17.0.1", port: 53 }], [...fixed, { address: "172.17.0.1", port: 53 }]],
  ["our own place", [{ address: "127.0.0.153", port: 53 }], fixed],
  ["our own place at another port", [{ address: "127.0.0.153", port: 5353 }], [...fixed, { address: "127.0.0.153", port: 5353 }]],
] as const)("the host's place is listened at, whatever else was asked for: %s", ([, more, want]) => {
  expect(placesToListen(["10.96.0.10"], more)).toEqual(want);
});
