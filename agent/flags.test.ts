import { expect, test } from "vitest";
import { collectCidr, parseListen } from "./flags.ts";

test.for([
  ["10.0.0.1", { address: "10.0.0.1", port: 53 }],
  ["10.0.0.1:5353", { address: "10.0.0.1", port: 5353 }],
  ["fd00::1", { address: "fd00::1", port: 53 }],
  ["[fd00::1]:5353", { address: "fd00::1", port: 5353 }],
] as const)("%s is where to listen", ([text, place]) => {
  expect(parseListen(text, 53)).toEqual(place);
});

test.for(["", "localhost", "10.0.0.1:0", "10.0.0.1:70000", "10.0.0.1:x", "[::1]:"])("%j is nowhere", (text) => {
  expect(() => parseListen(text, 53)).toThrow(/is no address/);
});

test("node ports are in prefixes, or at addresses", () => {
  expect(["10.0.0.0/24", "127.0.0.1", "fd00::1"].reduce<string[]>((all, text) => collectCidr(text, all), [])).toEqual([
    "10.0.0.0/24",
    "127.0.0.1/32",
    "fd00::1/128",
  ]);
  for (const text of ["10.0.0.0", "10.0.0.1/24", "eth0", "10.0.0.0/33"].slice(1))
    expect(() => collectCidr(text, [])).toThrow(/is no prefix/);
});
